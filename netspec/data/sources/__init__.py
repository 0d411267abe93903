"""Data sources: each public file of this folder holds one; netspec.data.known_sources finds them by name.

Data workers import this, but load no registry.
"""
