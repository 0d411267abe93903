"""PTX parsed into data: operands, instructions, kernels, lines of the source; device functions are inlined."""
