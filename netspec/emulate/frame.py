"""Execution state of the thread blocks that run at once: registers, special registers, shared and local memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from netspec.emulate.fault import Place
from netspec.emulate.memory import UNINITIALISED, AddressSpace, Array, Memory
from netspec.emulate.ptx.operands import Address, Immediate, Operand, Register, Symbol
from netspec.emulate.ptx.syntax_tree import SIZES, Instruction

if TYPE_CHECKING:
    from netspec.emulate.instructions.bulk_copies import BulkCopies
    from netspec.emulate.instructions.cp_async import AsyncCopies
    from netspec.emulate.instructions.mbarrier import MBarriers
    from netspec.emulate.instructions.named_barriers import NamedBarriers
    from netspec.emulate.instructions.register_pool import RegisterPool
    from netspec.emulate.instructions.wgmma import AsyncProducts
    from netspec.emulate.module import Kernel
    from netspec.emulate.races import RaceDetector

Step = Callable[[], Any]
Steps = tuple[Step, Step]
"""An instruction bound to a frame: as executed by all its threads, and under ``Frame.mask``."""
Bind = Callable[["Frame"], Steps]
"""An instruction's semantics, decoded once when a kernel is parsed, then bound to each frame that runs it."""
DTYPES: Mapping[str, Any] = {
    "pred": np.bool_,
    **{f"{letter}{bits}": f"u{bits // 8}" for letter in "bu" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{"f16": "f2", "bf16": "u2", "f16x2": "u4", "bf16x2": "u4", "tf32": "f4", "f32": "f4", "f64": "f8"},
}
"""numpy's dtypes of PTX's types; bf16 and packed pairs are bit patterns."""
SHARED_BASE = 1024
"""Offset at which a block's shared memory begins; the bytes before it are reserved for the system."""
SHARED_WINDOW, LOCAL_WINDOW = 1 << 40, 1 << 41
"""Windows of the generic address space: no host address lies in them."""
_GUARD = 512
SHARED_GAP = 1024
"""Bytes between arrays in shared memory: a red zone, which changes no array's alignment, and no bank."""
_UNSET = 0xFFFBADC0FFFBADC0


class SharedArray(NamedTuple):
    """A variable's place in a block's shared memory."""

    start: int
    nbytes: int
    name: str = ""


class Frame:
    """``count`` threads: those of ``blocks`` (numbers in the grid's order), each of ``shape`` (x, y, z)."""

    def __init__(
        self,
        kernel: Kernel,
        memory: Memory,
        blocks: range,
        grid: tuple[int, int, int],
        shape: tuple[int, int, int],
        parameters: Array,
        symbols: Mapping[str, int],
        dynamic_shared: int,
    ) -> None:
        self.kernel, self.memory, self.blocks, self.shape, self.grid = kernel, memory, blocks, shape, grid
        self.per_block = shape[0] * shape[1] * shape[2]
        self.count = self.per_block * len(blocks)
        self.parameters, self.symbols = parameters, symbols
        self.mask = np.zeros(self.count, bool)
        self.lanes: Array | None = None
        self.thread = np.tile(np.arange(self.per_block, dtype=np.uint32), len(blocks))
        self.block = np.repeat(np.arange(len(blocks), dtype=np.int64), self.per_block)
        self._registers: dict[str, Array] = {}
        self.nbytes = 0
        """Bytes of its registers."""
        self._special: dict[str, Array] = {}
        self.bound: dict[int, tuple[list[Step], list[Step]]] = {}
        """Bound basic blocks by number: steps for all threads, and for those of the mask."""
        self.dynamic_shared = dynamic_shared
        self.shared_arrays = kernel.shared_arrays(dynamic_shared)
        self._clear()
        self.races: RaceDetector
        self.copies: AsyncCopies
        self.products: AsyncProducts
        self.bulk_copies: BulkCopies
        self.mbarriers: MBarriers
        self.named_barriers: NamedBarriers
        self.register_pool: RegisterPool
        self.woken = False
        """Whether something has happened that parked threads may wait for."""
        self.checked = False
        """Whether races are detected."""

    def _clear(self) -> None:
        """Shared and local memory, uninitialised."""
        self.shared, self.shared_stride = self._space(self.shared_arrays, len(self.blocks), "shared memory")
        local = (SharedArray(0, self.kernel.local_bytes),)
        self.local, self.local_stride = self._space(local, self.count, "local memory")

    def reset(self, blocks: range, grid: tuple[int, int, int], parameters: Array) -> None:
        """Reuse it for as many other blocks; instructions stay bound to its arrays."""
        self.blocks, self.grid = blocks, grid
        self.parameters[:] = parameters
        for array in self._registers.values():
            array.fill(_unset(array))
        for name, array in self._special.items():
            if name.startswith(("%ctaid", "%nctaid")):
                array[:] = self._special_value(name)
        self._clear()

    def _space(self, arrays: Sequence[SharedArray], parts: int, name: str) -> tuple[AddressSpace, int]:
        nbytes = sum(one.nbytes for one in arrays)
        end = max((one.start + one.nbytes for one in arrays), default=0)
        stride = -(-(end + _GUARD) // 1024) * 1024
        size = stride * parts if nbytes else 0
        space = AddressSpace(np.zeros(size, np.uint8), 0, name, private=True)
        for one in arrays if nbytes else ():
            space.state(0, size).reshape(parts, stride)[:, one.start : one.start + one.nbytes] = UNINITIALISED
        return space, stride

    def register(self, name: str) -> Array:
        """A register's bits in each thread, (count,)."""
        if name not in self._registers:
            kind = self.kernel.registers[name]
            dtype = np.dtype(DTYPES[f"b{8 * SIZES[kind]}"] if kind != "pred" else np.bool_)
            self._registers[name] = array = np.empty(self.count, dtype)
            array.fill(_unset(array))
            self.nbytes += array.nbytes
        return self._registers[name]

    def flag(self, name: str) -> Array:
        """A flag of each thread that no instruction names, such as the carry, (count,)."""
        return self._registers.setdefault(name, np.zeros(self.count, bool))

    def read(self, operand: Operand, kind: str) -> Any:
        """The operand's values as that type: a view of a register (count,), or one value for all threads (1,).

        A register wider than the type gives its low part.
        """
        dtype = np.dtype(DTYPES[kind])
        if isinstance(operand, Immediate):
            if kind == "pred":
                return np.array([bool(operand.value)])
            bits = operand.bits("f32" if kind == "tf32" else kind)
            return np.array([bits], f"u{dtype.itemsize}").view(dtype)
        if isinstance(operand, Symbol):
            return np.array([self.address(operand)], np.uint64).astype(f"u{dtype.itemsize}").view(dtype)
        if not isinstance(operand, Register):
            raise TypeError(f"{operand} is no value")
        if operand.negated:
            raise TypeError("a negated predicate is read by guards only")
        array = self.special(operand.name) if operand.name not in self.kernel.registers else self.register(operand.name)
        return _part(array, dtype)

    def write(self, operand: Operand, kind: str) -> Array:
        """The register to which a result of that type is written, (count,); ``_`` discards it."""
        dtype = np.dtype(DTYPES[kind])
        if operand == Symbol("_"):
            return np.empty(self.count, dtype)
        if not isinstance(operand, Register) or operand.name not in self.kernel.registers:
            raise TypeError(f"{operand} takes no results")
        array = self.register(operand.name)
        if array.itemsize != dtype.itemsize or (array.dtype == bool) != (kind == "pred"):
            raise TypeError(f"{operand.name} is no register for a result of type {kind}")
        return array.view(dtype)

    def predicate(self, operand: Operand) -> Callable[[], Array]:
        """A predicate's values, ``!p`` included."""
        if isinstance(operand, Register) and operand.negated:
            array = self.register(operand.name)
            return lambda: ~array
        values = self.read(operand, "pred")
        return lambda: values

    def is_register(self, operand: object) -> bool:
        """Whether it is one of the kernel's registers."""
        return isinstance(operand, Register) and operand.name in self.kernel.registers

    def is_predicate(self, operand: object) -> bool:
        """Whether it is a predicate register."""
        return isinstance(operand, Register) and self.kernel.registers.get(operand.name) == "pred"

    def address(self, symbol: Symbol) -> int:
        """A variable's address in its state space."""
        if symbol.name not in self.symbols:
            raise TypeError(f"there is no variable '{symbol.name}'")
        return self.symbols[symbol.name] + symbol.offset

    def addresses(self, operand: Address) -> Callable[[], Array]:
        """A function that gives the active threads' addresses, int64."""
        base, offset = operand.base, operand.offset
        if not isinstance(base, Register):
            fixed = np.full(self.count, offset + (self.address(base) if base else 0), np.int64)
            return lambda: fixed if self.lanes is None else fixed[self.lanes]
        bits = self.register(base.name)
        array = bits.view(np.int64) if bits.itemsize == 8 else bits

        def values() -> Array:
            mine = array if self.lanes is None else array[self.lanes]
            return mine.astype(np.int64) + offset if offset or mine.itemsize < 8 else mine

        return values

    def special(self, name: str) -> Array:
        """A special register's value in each thread, (count,)."""
        if name not in self._special:
            self._special[name] = self._special_value(name)
        return self._special[name]

    def _special_value(self, name: str) -> Any:
        word, _, axis = name.partition(".")
        if axis in ("x", "y", "z") and word in ("%tid", "%ntid", "%ctaid", "%nctaid"):
            return self._place(word, "xyz".index(axis))
        if name == "%dynamic_smem_size":
            return np.full(self.count, self.dynamic_shared, np.uint32)
        lane = self.thread % np.uint32(32)
        one = np.uint32(1)
        values: dict[str, Array] = {
            "%laneid": lane,
            "%warpid": self.thread // np.uint32(32),
            "%lanemask_eq": one << lane,
            "%lanemask_lt": (one << lane) - one,
            "%lanemask_le": ((one << lane) - one) | (one << lane),
            "%lanemask_gt": ~(((one << lane) - one) | (one << lane)),
            "%lanemask_ge": ~((one << lane) - one),
        }
        if name not in values:
            raise TypeError(f"{name} is not known here")
        return values[name]

    def _place(self, word: str, axis: int) -> Any:
        extents = self.shape if word in ("%tid", "%ntid") else self.grid
        if word in ("%ntid", "%nctaid"):
            return np.full(self.count, extents[axis], np.uint32)
        number = self.thread if word == "%tid" else (self.block + self.blocks.start).astype(np.uint32)
        below = int(np.prod(extents[:axis], dtype=np.int64))
        place: Array = number // np.uint32(below) % np.uint32(extents[axis])
        return place

    def thread_name(self, index: int) -> str:
        """Block and thread index, for messages."""
        names = [[int(self._place(word, axis)[index]) for axis in range(3)] for word in ("%ctaid", "%tid")]
        return f"block {_coordinates(names[0])}, thread {_coordinates(names[1])}"

    def own_address(self, space: AddressSpace, offset: int) -> int:
        """An address in global memory; in shared and local memory, one in its block's or thread's part."""
        if space is self.shared:
            return offset % self.shared_stride
        return offset % self.local_stride if space is self.local else space.base + offset

    def place(self, space: str, address: int, nbytes: int) -> Place:
        """Bytes for messages, in shared memory with the array that they lie in or behind."""
        before = [one for one in self.shared_arrays if one.start <= address] if space == "shared memory" else []
        if not before:
            return Place(space, address, nbytes)
        own = max(before)
        return Place(space, address - own.start, nbytes, own.nbytes)

    def active(self) -> Array:
        """Indices of the active threads."""
        return np.arange(self.count) if self.lanes is None else self.lanes


def _unset(register: Array) -> int | bool:
    """The pattern of an uninitialised register."""
    return False if register.dtype == bool else _UNSET & ((1 << 8 * register.itemsize) - 1)


def _coordinates(place: list[int]) -> str:
    return f"({place[0]}, {place[1]}, {place[2]})" if place[1] or place[2] else str(place[0])


def _part(array: Array, dtype: Any) -> Any:
    if array.dtype == bool or dtype == np.dtype(bool):
        if array.dtype != dtype:
            raise TypeError("a predicate is no number, and no number a predicate")
        return array
    if array.itemsize == dtype.itemsize:
        return array.view(dtype)
    if array.itemsize < dtype.itemsize:
        raise TypeError(f"a register of {array.itemsize} bytes has no value of {dtype.itemsize}")
    return array.view(dtype)[:: array.itemsize // dtype.itemsize]


def ufunc(frame: Frame, function: Any, target: Array, *sources: Array) -> Steps:
    """Steps of an instruction that is one numpy ufunc."""
    whole = partial(function, *sources, out=target)
    return whole, partial(function, *sources, out=target, where=frame.mask)


def computed(frame: Frame, target: Array, compute: Callable[[], Any]) -> Steps:
    """Steps of an instruction computed for all threads and stored for the active ones."""
    return lambda: np.copyto(target, compute()), lambda: np.copyto(target, compute(), where=frame.mask)


def predicated(ins: Instruction, bind: Bind) -> Bind:
    """The instruction under its guard predicate: executed by those threads for which it holds."""
    if ins.guard is None:
        return bind
    name, wanted = ins.guard

    def bound(frame: Frame) -> Steps:
        _, masked = bind(frame)
        predicate = frame.register(name)

        def run(mask: Array | bool) -> None:
            before, lanes = frame.mask.copy(), frame.lanes
            np.copyto(frame.mask, predicate == wanted)
            frame.mask &= mask
            frame.lanes = np.flatnonzero(frame.mask)
            if frame.lanes.size:
                masked()
            np.copyto(frame.mask, before)
            frame.lanes = lanes

        return lambda: run(True), lambda: run(frame.mask.copy())

    return bound
