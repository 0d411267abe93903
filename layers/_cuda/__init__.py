"""Fast CUDA kernels of the built-in layers."""
