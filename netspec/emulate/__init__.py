"""An emulator of PTX: runs what numba.cuda really generates, in numpy, and finds what hardware leaves undefined."""

from netspec.emulate.fault import Fault
from netspec.emulate.machine import launch
from netspec.emulate.memory import Memory
from netspec.emulate.module import Kernel, Module

__all__ = ["Fault", "Kernel", "Memory", "Module", "launch"]
