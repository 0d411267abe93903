"""The worker process of parallel compilation: compiles kernels into the cache (netspec.kernels.parallel)."""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from netspec.kernels.lookup import find_kernel
from netspec.machine.garbage import COLLECTED_AFTER
from netspec.registry.plugin_code import adopt


def main() -> None:
    """Compile what standard input brings, until it ends; a byte on standard output asks for more."""
    gc.set_threshold(*COLLECTED_AFTER)
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a plugin prints is no answer
    with suppress(EOFError, BrokenPipeError):  # the other process is done, or gone
        for plugin in pickle.load(sys.stdin.buffer):
            with suppress(Exception):  # its kernels are then met by the other process
                adopt(plugin)
        while True:
            os.write(answers, b".")
            work = pickle.load(sys.stdin.buffer)
            with suppress(Exception):  # the other process will meet the same fault, and tell it
                compile_one(*work)


def compile_one(
    kernel: str,
    dtype: str,
    signature: tuple[Any, ...],
    card: int | None,
    tails: Sequence[tuple[str, Mapping[str, Any]]],
    bound: int,
) -> None:
    """Compile a kernel for a signature into the cache: for CPUs, or for a card by its index."""
    function = find_kernel(kernel).function
    if card is None:
        from netspec.kernels.cpu import compile_cpu

        compile_cpu(function, dtype).compile(signature)
        return
    from netspec.kernels.cuda import compile_cuda
    from netspec.kernels.epilogue import epilogue_of
    from netspec.kernels.numba_cuda import cuda
    from netspec.kernels.toolkit import finds_compiler

    finds_compiler()  # a library that numba-cuda would not look for is loaded by that
    with cuda.gpus[card]:
        compile_cuda(function, dtype, epilogue_of(tails), bound).compile(signature)
