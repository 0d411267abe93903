"""The version, which the package and its metadata share."""

__version__ = "0.1.0"
