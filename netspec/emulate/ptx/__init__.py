"""PTX parsed into data: operands, instructions, kernels; device functions are inlined. No semantics."""
