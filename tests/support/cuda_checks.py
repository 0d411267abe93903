"""What becomes of the contract suite's checks of CUDA kernels here: an emulator runs them where there is no GPU."""

from netspec.device.gpus import finds_compiler, gpus

CUDA_CHECKS = "passed" if gpus() or finds_compiler() else "skipped"
"""Of right layers; they are skipped where CUDA's compiler, which feeds the emulator, is missing too."""
