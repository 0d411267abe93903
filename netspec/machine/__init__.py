"""The machine: what it is, how many cores it has, how its files are written whole."""
