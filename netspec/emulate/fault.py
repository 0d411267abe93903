"""What the emulator raises: a kernel did what the hardware does not define, or what the emulator does not know."""

from __future__ import annotations

from netspec.errors import NetspecError


class Fault(NetspecError):
    """A kernel's mistake: what happened, with the kernel, the line of PTX and the thread where known."""


def at_line(message: str, line: int, text: str) -> Fault:
    """A fault at a line of PTX."""
    return Fault(f"{message}, at line {line} of the PTX: {' '.join(text.split())}")
