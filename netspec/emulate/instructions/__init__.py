"""Semantics of PTX instructions, a file for each chapter of the PTX ISA; ``dispatch`` finds them by opcode."""
