"""The commands below ``netspec layers``."""
