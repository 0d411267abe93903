"""GPU devices: NVIDIA cards by way of numba.cuda."""
