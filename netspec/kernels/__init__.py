"""Compilation of marked Python functions to kernels, for CPUs and GPUs, with a content-addressed cache."""
