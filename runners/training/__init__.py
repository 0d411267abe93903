"""Training runs: from a request to a run directory, with checkpoints, resumption and logs."""
