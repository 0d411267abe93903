"""The sections of benchmarks/gpu.py. Each returns plain data; whatever it raises is recorded and the next goes on."""
