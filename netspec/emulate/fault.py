"""What the emulator raises: a kernel did what the hardware does not define, or what the emulator does not know."""

from __future__ import annotations


class Fault(Exception):
    """A kernel's mistake: what happened, with the kernel, the line of PTX and the thread where known."""
