"""Training: what happens to parameters and learning rates over a run."""
