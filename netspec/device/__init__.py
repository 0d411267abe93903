"""Devices: what holds buffers and runs kernels in order, one folder a kind."""
