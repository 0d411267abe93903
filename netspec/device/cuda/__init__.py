"""GPU devices: NVIDIA cards by way of numba.cuda, or numba's simulator of one."""
