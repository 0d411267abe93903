"""Gates on generated code: PTX and machine code of every CUDA kernel, checked without a GPU."""
