"""Fast CPU kernels of the built-in layers."""
