"""One layer on one device, outside any network: what the contract suite and a plugin author's notebook run."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from netspec.check.compare import Failed
from netspec.check.guarded import GuardedArrays, Spoilt
from netspec.contract.kernel import Direction, Phase
from netspec.contract.keys import key_of
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import COUNTERS, Argument, argument
from netspec.contract.source_place import file_of, place_of, raised_at
from netspec.contract.tensor import Tensor
from netspec.device.base import Call, Device
from netspec.device.dtypes import numpy_dtype
from netspec.errors import LayerError, NetspecError
from netspec.kernels.lookup import find_kernel
from netspec.machine.marks import mark
from netspec.planning.plan import Pass, make_layer
from netspec.program.passes import lower
from netspec.registry import layer_types

Array = np.ndarray[Any, Any]
Values = Mapping[str, Array]


def gradient_of(tensor: str) -> str:
    """How kernels call a tensor's gradient."""
    return str(Argument(tensor, "gradient"))


@contextmanager
def layer_error(kind: str) -> Iterator[None]:
    """Whatever a layer's own code raises as a NetspecError that names the layer, and its line where it is a fault."""
    try:
        yield
    except LayerError as error:
        raise NetspecError(f"{kind}: {error.message}{f' ({error.remedy})' if error.remedy else ''}") from error
    except NetspecError:
        raise
    except Exception as error:
        where = raised_at(error, file_of(layer_types()[kind]))
        place = f" at {where}" if where else ""
        raise NetspecError(f"{kind}: its code raises {type(error).__name__}{place}: {error}") from error


def whole_keys(layer: Layer, t: Tensors) -> dict[str, int]:
    """The keys of a whole layer: of its random numbers, and which channels it has."""
    return {"key": key_of(0, layer.type), "channel_offset": 0, "channel_count": t[t.output_names[0]].shape[-1]}


class SingleLayer:
    """A layer instance with the tensors of given inputs, run by name.

    ``inputs`` are tensors (None for an absent optional one); tensors of float32 are held in ``dtype``, in which the
    kernels also compute, those of bfloat16 as such. ``keys`` stands for a shard's place in the whole layer. Arrays that
    a direction writes, and workspace, start as ``poison``, so that an element left out shows.
    """

    def __init__(
        self,
        layer_type: str,
        attrs: Mapping[str, Any],
        inputs: Sequence[Tensor | None],
        device: Device,
        *,
        phase: Phase = "train",
        variant: str = "plain",
        dtype: str = "float32",
        keys: Mapping[str, int] | None = None,
        poison: float = np.nan,
    ) -> None:
        self.layer, self.t = make_layer(layer_type, attrs, phase, inputs)
        self.input_names = self.layer.input_names(len(inputs))
        self.device, self.variant, self.dtype, self.poison = device, variant, dtype, poison
        self.keys = {**whole_keys(self.layer, self.t), **(keys or {})}
        self._passes: dict[Direction, tuple[Pass, ...]] = {}
        self._calls: dict[Any, tuple[GuardedArrays, Call]] = {}

    def again(self, device: Device | None = None, poison: float | None = None) -> SingleLayer:
        """The same passes with arrays of their own: on another device of the same kind, or started as other poison."""
        other = copy.copy(self)
        other._passes = {direction: self.passes(direction) for direction in self.directions}
        other._calls = {}
        other.device = self.device if device is None else device
        other.poison = self.poison if poison is None else poison
        return other

    def forward(self, values: Values, iteration: int = 0, valid: int | None = None) -> dict[str, Array]:
        """Run forward on inputs, parameters and state; gives all it writes: outputs, saved, next state."""
        return self.run("forward", values, iteration, valid)

    def backward(self, values: Values, iteration: int = 0, valid: int | None = None) -> dict[str, Array]:
        """Run backward on whatever its kernels name (``x``, ``y``, ``dy`` ...); gives the gradients it writes."""
        return self.run("backward", values, iteration, valid)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Those of the phase."""
        return ("forward", "backward") if self.layer.phase == "train" else ("forward",)

    def passes(self, direction: Direction) -> tuple[Pass, ...]:
        """The lowered passes of a direction."""
        if direction not in self._passes:
            self._passes[direction] = self.lowered(direction)
        return self._passes[direction]

    def lowered(self, direction: Direction) -> tuple[Pass, ...]:
        """The same, asked of the layer anew."""
        return lower(self.layer, self.t, self.device.kind, direction, self.variant, self.keys, self.dtype)

    def written(self, direction: Direction) -> tuple[str, ...]:
        """Names of tensors that a direction writes, workspace left out."""
        return tuple(map(str, self.writes(direction)))

    def writes(self, direction: Direction) -> tuple[Argument, ...]:
        """What a direction writes, workspace left out."""
        written = dict.fromkeys(target for one in self.passes(direction) for target in one.writes)
        return tuple(one for one in written if one.tensor in self.t.roles)

    def writers(self, name: str) -> str:
        """``backward_cuda (file:line)``: the kernels that write a tensor, gradient or next state."""
        every = [one for direction in self.directions for one in self.passes(direction)]
        return _places((one for one in every if self.argument(name) in one.writes), name)

    @contextmanager
    def blamed(self, name: str) -> Iterator[None]:
        """Within it a Failed tells also which kernels write the tensor that is wrong."""
        try:
            yield
        except Failed as failed:
            raise Failed(f"{failed}; '{name}' is written by {self.writers(name)}") from failed

    def argument(self, name: str) -> Argument:
        """What a name stands for, as kernels use it; a NetspecError where it is none of the layer's."""
        found = argument(name, self.t.roles)
        if found is None:
            raise NetspecError(f"'{name}' is no tensor of layer type '{self.layer.type}' ({', '.join(self.t.roles)})")
        return found

    def run(
        self,
        direction: Direction,
        values: Values,
        iteration: int = 0,
        valid: int | None = None,
        alias: Mapping[str, str] | None = None,
    ) -> dict[str, Array]:
        """Run one direction; ``alias`` maps tensors that are written to the given ones in whose memory they lie.

        Raises NetspecError where a kernel changes what it does not declare to write, or writes outside an array.
        """
        given = {self.argument(name): np.asarray(value) for name, value in self.rounded(values).items()}
        placed = {self.argument(name): self.argument(source) for name, source in (alias or {}).items()}
        rows = self.t.inputs[0].shape[0] if valid is None else valid
        given[COUNTERS] = np.array([iteration, rows], np.int64)
        memory, call = self._bound(direction, given, placed)
        memory.fill(given)
        mark(lambda: self._work(direction))
        call()
        written = self.writes(direction)
        try:
            memory.check(unchanged=given.keys() - {*written, *placed.values()})
        except Spoilt as spoilt:
            raise Failed(_told(spoilt, self.passes(direction), direction)) from spoilt
        for one in written:
            if missing := memory.unwritten_of(one):
                raise Failed(f"{missing}: all of '{one}' is left to {self.writers(str(one))}")
        return {str(one): self.device.download(memory.arrays[one]) for one in written}

    def _bound(
        self, direction: Direction, given: Mapping[Argument, Array], placed: Mapping[Argument, Argument]
    ) -> tuple[GuardedArrays, Call]:
        """A direction's arrays and the call that runs it on them, made once for what is given and where that lies."""
        kinds = tuple((name, value.shape, value.dtype) for name, value in given.items())
        key = (direction, kinds, tuple(placed.items()))
        if key not in self._calls:
            memory = self._arrays(direction, given, placed)
            mark(lambda: f"compiling {self._work(direction)}")
            self._calls[key] = memory, self.device.bind(self.passes(direction), memory.arrays)
        return self._calls[key]

    def _arrays(
        self, direction: Direction, given: Mapping[Argument, Array], placed: Mapping[Argument, Argument]
    ) -> GuardedArrays:
        memory, written = GuardedArrays(self.device, self.dtype), self.writes(direction)
        for one in written:
            if one not in placed:
                memory.add(one, self._poisoned(self.t.of(one)), undefined=True, written=True)
        for one, value in given.items():
            if one not in written:
                memory.add(one, value)
        for one, source in placed.items():
            memory.arrays[one] = memory.arrays[source]
        for name, space in self.layer.workspace(self.t, self.variant, direction).items():
            members = (self.device.team_size,) if space.per == "member" else ()
            memory.add(Argument(name), self._poisoned(Tensor(space.shape, space.dtype), members), undefined=True)
        return memory

    def rounded(self, values: Values) -> dict[str, Array]:
        """The values as the layer is given them: rounded where its tensors are bfloat16."""
        narrow = {name for name in values if self.t.of(self.argument(name)).dtype == "bfloat16"}
        return {
            name: np.asarray(value).astype(numpy_dtype("bfloat16")) if name in narrow else value
            for name, value in values.items()
        }

    def _work(self, direction: Direction) -> str:
        """What a run does, for people."""
        shapes = ", ".join(str(tensor.shape) for tensor in self.t.inputs)
        return f"{_places(self.passes(direction))} on {self.device.name}, {self.layer.phase}, inputs {shapes}"

    def _poisoned(self, tensor: Tensor, members: tuple[int, ...] = ()) -> Array:
        dtype = self.dtype if tensor.dtype == "float32" else tensor.dtype
        whole = -1 if np.isnan(self.poison) else int(self.poison) % 128
        fill: float = self.poison if "float" in dtype else whole
        return np.full((*members, *tensor.shape), fill).astype(numpy_dtype(dtype))


def _places(passes: Iterable[Pass], written: str = "") -> str:
    kernels = dict.fromkeys(find_kernel(one.kernel) for one in passes)
    return ", ".join(f"{one.function.__name__} ({place_of(one.function, written)})" for one in kernels) or "no kernel"


def _told(spoilt: Spoilt, passes: Sequence[Pass], direction: Direction) -> str:
    """What is spoilt, with the line that stores to it, or all kernels that could."""
    from netspec.check.kernel_source import undeclared_store

    if place := undeclared_store(passes, spoilt.array):
        return f"{place} {str(spoilt).removeprefix('a kernel ')}"
    given_it = (one for one in passes if spoilt.array in {target for _, target in one.args})
    return f"{spoilt}; of the kernels of {direction} it is given to {_places(given_it)}"
