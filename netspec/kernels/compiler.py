"""A process that compiles kernels into the cache for another one (netspec.kernels.together)."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress

from netspec.kernels.cpu import compile_cpu
from netspec.kernels.find import find_kernel


def main() -> None:
    """Compile what comes in, until nothing comes; a byte goes out whenever more is wanted."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a plugin prints is no answer
    with suppress(EOFError, BrokenPipeError):  # the other process is done, or gone
        while True:
            os.write(answers, b".")
            name, dtype, signature = pickle.load(sys.stdin.buffer)
            with suppress(Exception):  # the other process will meet the same fault, and tell it
                compile_cpu(find_kernel(name).function, dtype).compile(signature)
