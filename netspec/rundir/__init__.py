"""The run directory: its files, its metrics, the list of all runs."""
