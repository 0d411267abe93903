"""An emulator of PTX in numpy: runs what numba.cuda generates, and finds what hardware leaves undefined.

A library of its own, which imports nothing else of netspec. From text to a finished launch:

- ``ptx/`` parses a module into instructions as data, with device functions inlined;
- ``instructions/`` binds each instruction to its semantics, a file for each chapter of the PTX ISA;
- ``module`` splits kernels into basic blocks, the unit that a warp runs without diverging;
- ``frame`` is the execution state of some blocks of threads: registers, shared and local memory (``frame_cache``
  keeps frames between launches);
- ``scheduler`` runs a launch: one batch of blocks after the other, divergent threads by the lowest basic block;
- ``memory`` is global memory, with the state of each byte (unallocated, uninitialised, initialised, in flight);
- ``map_encoding`` is tensor maps, and the boxes of arrays that TMA reads and writes by them;
- ``races`` detects data races with shadow memory, an epoch of last accesses for each word;
- ``deadlock`` tells of threads that wait in vain;
- ``fault`` is the one exception: what the kernel did wrong, with the line of PTX, the block and the thread, as text and
  as data; ``ptx/line_info`` finds the line of the source.
"""

from netspec.emulate.fault import Fault
from netspec.emulate.memory import Memory
from netspec.emulate.module import Kernel, Module
from netspec.emulate.scheduler import launch

__all__ = ["Fault", "Kernel", "Memory", "Module", "launch"]
