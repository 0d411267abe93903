"""The commands below ``netspec data``."""
