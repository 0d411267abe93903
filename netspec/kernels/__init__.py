"""From marked Python functions to compiled kernels."""
