"""The emulator's exception: undefined behaviour of a kernel, or PTX that is not implemented."""

from __future__ import annotations


class Fault(Exception):
    """What a kernel did wrong, with its name, the line of PTX and the thread where known."""
