"""From spec layers to shards: shapes inferred, placement checked, every problem told with its place."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from netspec.contract.augmentation import MIXED
from netspec.contract.kernel import Phase
from netspec.contract.layer import Layer
from netspec.contract.tensor import Param, Shape, State, Tensor
from netspec.data.augment import mix_of
from netspec.errors import LayerError, Mark, Problem, SpecError
from netspec.planning.connect import Reading, by_rows, check_rows, fail, find_value, groups_of, join, read
from netspec.planning.identities import BufferKey, Role, TensorKey, of_layer
from netspec.planning.plan import MakeLayer, make_layer
from netspec.planning.row_exchange import Exchange, exchange, share_of
from netspec.planning.shards import Gather, Part, Piece, Rows, Shard, Value
from netspec.planning.storage import Storage
from netspec.registry import layer_types
from netspec.spec.types import Connection, InputSpec, LayerSpec, Spec

Values = dict[str, dict[str, Value]]


class Network:
    """All shards of a spec in one phase, in order, and the values between them; of a replica's images in training."""

    def __init__(
        self,
        spec: Spec,
        phase: Phase,
        batch: int,
        processes: int = 1,
        storage: Storage = "float32",
        resident: Mapping[str, Shape] | None = None,
        make: MakeLayer = make_layer,
        in_memory: bool = False,
    ) -> None:
        self.spec, self.phase, self.batch, self.storage = spec, phase, batch, storage
        self.types, self.make = layer_types(), make
        self.resident = resident or {}
        """Network inputs whose images the devices hold, all of them, and the shape of these."""
        self.replicas, self.processes = (spec.replicas, processes) if phase == "train" else (1, 1)
        self.in_memory = in_memory
        """Whether the processes see each other's gradients."""
        self.mixes = phase == "train" and mix_of(spec.data) is not None
        self.values: Values = {name: self._fed(name) for name in spec.inputs}
        self.shards: list[list[Shard]] = []
        self.by_layer: dict[str, list[Shard]] = {}
        self.gathers: dict[tuple[str, tuple[tuple[BufferKey, int, int], ...]], Gather] = {}
        self.exchanges: dict[BufferKey, Exchange] = {}
        """What brings rows of a value to a device, by the buffer that they come to lie in."""
        self.exchanged: dict[tuple[TensorKey, tuple[str, ...], str], Exchange] = {}
        self.fed = _fed_rows(spec, self.batch)
        """The rows of each network input on each device."""
        problems: list[Problem] = []
        broken: set[str] = set()
        for layer in spec.layers:
            if broken & {connection.source for connection in layer.inputs}:
                broken.add(layer.name)
                continue
            try:
                self._add(layer)
            except SpecError as error:
                problems += error.problems
                broken.add(layer.name)
        if problems:
            raise SpecError(problems)

    def readers(self) -> dict[BufferKey, list[Gather]]:
        """The gathers that hold a part, by the part's buffer; every part that is read has one."""
        found: dict[BufferKey, list[Gather]] = {}
        for gather in self.gathers.values():
            for key in dict.fromkeys(piece.part.key for piece in gather.pieces):
                found.setdefault(key, []).append(gather)
        return found

    def read_parts(self) -> set[BufferKey]:
        """The buffers of the parts that something reads, be it through an exchange."""
        found = set(self.readers())
        return found | {move.part.key for one in self.exchanges.values() for move in one.moves}

    def inputs(self) -> Iterator[Part]:
        """The network inputs on the devices that read them."""
        for name in self.spec.inputs:
            for value in self.values[name].values():
                yield from value.parts

    def _fed(self, name: str) -> dict[str, Value]:
        """A network input, and of labels of images that are mixed what belongs to them, by name."""
        mixed = MIXED if self.mixes and is_label(self.spec.inputs[name]) else ()
        keys = {"": TensorKey(input=name), **{one: TensorKey(one, input=name) for one in mixed}}
        return {one: Value(key, "everywhere", ()) for one, key in keys.items()}

    def _add(self, spec: LayerSpec) -> None:
        cls = self.types[spec.type]
        connections = self.present(spec)
        self._check_cost(spec, cls)
        self._check_even(spec)
        shards = [self._shard(spec, cls, connections, index) for index in range(len(spec.devices))]
        self.shards.append(shards)
        self.by_layer[spec.name] = shards
        self.values[spec.name] = _output_values(spec, shards, self.batch)

    def present(self, spec: LayerSpec) -> list[tuple[str | None, Connection]]:
        """A layer's connections in this phase, with the input that each serves (None: they are joined into the only
        one).
        """
        cls, connections = self.types[spec.type], list(spec.inputs)
        if cls.variadic:
            return list(zip(cls.input_names(len(connections)), connections, strict=True))
        if len(cls.inputs) == 1 and len(connections) > 1 and cls.mixes_channels:
            return [(None, one) for one in connections]
        if len(connections) != len(cls.inputs):
            raise fail(
                spec.mark_of("inputs"),
                f"{spec.name}: a {spec.type} layer takes {_count(cls.inputs)}, got {len(connections)}",
            )
        pairs = zip(cls.inputs, connections, strict=True)
        found = [(n, c) for n, c in pairs if not (self.phase == "predict" and n in cls.optional)]
        label = label_of(self.spec, spec) if self.mixes and cls.mixed else None
        return [*found, *((name, replace(label, output=name)) for name in cls.mixed if label)]

    def _check_cost(self, spec: LayerSpec, cls: type[Layer]) -> None:
        if cls.reports and len(spec.devices) > 1:
            raise fail(spec.mark_of("device"), f"{spec.name}: a cost layer sits on one device", "name one device")

    def _check_even(self, spec: LayerSpec) -> None:
        count = len(spec.devices)
        if by_rows(spec) and self.phase == "train" and self.batch % count:
            low = self.batch // count * count
            of = "a replica's batch is" if self.replicas > 1 else "the batch is"
            raise fail(
                spec.mark_of("split"),
                f"{spec.name}: {of} {self.batch}, which cannot be split evenly over {count} devices",
                f"a multiple of {count * self.replicas} in train.batch, such as {(low + count) * self.replicas}",
            )

    def _shard(
        self, spec: LayerSpec, cls: type[Layer], connections: list[tuple[str | None, Connection]], index: int
    ) -> Shard:
        device = spec.devices[index]
        readings: list[tuple[str | None, Connection, Reading]] = []
        for name, connection in connections:
            value = find_value(spec, connection, self.values)
            value = self._brought(spec, connection, self._everywhere(connection, value, device), device)
            if cls.whole_only and value.ways > 1 and connection.connect == "same":
                raise fail(
                    spec.mark, f"{spec.name}: {spec.type} of a tensor split over {value.ways} devices", cls.whole_only
                )
            readings.append((name, connection, read(spec, connection, value, device)))
        attrs, groups = self._local_attrs(spec, cls, readings)
        gathers = self._gather_all(spec, cls, device, readings, groups)
        names = cls.input_names(len(connections))
        inputs = [gathers[name].tensor if name in gathers else None for name in names]
        try:
            layer, t = self.make(spec.type, attrs, self.phase, inputs)
        except LayerError as error:
            mark = spec.mark_of(error.attr) if error.attr else _changed_inputs(spec) or spec.mark
            raise fail(mark, f"{spec.name}: {error.message}{_origin(gathers)}", error.remedy) from None
        except Exception as error:  # a plugin's mistake must not look like one of netspec
            raise fail(spec.mark, f"{spec.name}: {_fault(cls, error)}{_origin(gathers)}") from error
        ways = max((reading.ways for _, _, reading in readings), default=1)
        shard = Shard(spec, device, index, len(spec.devices), layer, gathers, t, ways)
        self._check_params(shard)
        return shard

    def _brought(self, spec: LayerSpec, connection: Connection, value: Value, device: str) -> Value:
        """The value as the layer's device takes it: where rows are cut, a part with the rows that it needs."""
        if not (by_rows(spec) or value.layout == "rows"):
            return value
        check_rows(spec, connection, value)
        rows = _rows(spec, device, self.batch)
        found = value if value.layout != "everywhere" else Value(value.key, "whole", (value.on(device),))
        for part in found.parts:
            if found.layout != "split" and (part.device, part.rows) == (device, rows):
                return Value(value.key, "everywhere", (part,))
        readers = spec.devices if by_rows(spec) else (device,)
        place = (value.key, readers, device)
        if place not in self.exchanged:
            one = self.exchanged[place] = exchange(found, rows, device, spec.name, readers, self.exchanges)
            self.exchanges[one.part.key] = one
        return Value(value.key, "everywhere", (self.exchanged[place].part,))

    def _everywhere(self, connection: Connection, value: Value, device: str) -> Value:
        """A network input comes to lie on each device that reads it; those rows alone, if all its readers take them."""
        if value.layout != "everywhere" or device in value.devices:
            return value
        rows = self.fed[connection.source, device]
        one, name = self.spec.inputs[connection.source], connection.source
        dtype = MIXED[value.key.tensor] if value.key.tensor else one.dtype
        tensor = Tensor((rows.stop - rows.start, *one.shape), dtype, differentiable=False)
        tensor = replace(tensor, dtype=self.storage) if is_image(tensor) else tensor
        role: Role = "activation" if is_image(tensor) else "input"
        channels = tensor.shape[-1] if one.shape else 1
        part = Part(BufferKey(value.key, role, device), tensor, 0, channels, rows.start)
        found = self.values[name][value.key.tensor] = Value(value.key, "everywhere", (*value.parts, part))
        return found

    def _local_attrs(
        self, spec: LayerSpec, cls: type[Layer], readings: list[tuple[str | None, Connection, Reading]]
    ) -> tuple[dict[str, Any], int]:
        attrs: dict[str, Any] = dict(spec.attrs)
        count = len(spec.devices) if spec.split == "channels" else 1
        ways = max((reading.ways for _, _, reading in readings), default=1)
        groups = 1
        if cls.mixes_channels:
            for _, connection, reading in readings:
                if reading.ways != ways:
                    raise fail(connection.mark, f"{spec.name}: its inputs are not all cut over {ways} devices")
            _, groups = groups_of(spec, ways)
            attrs["groups"] = groups
        for name in cls.divided:
            if name != "groups":
                attrs[name] = _divide(spec, name, attrs[name], count)
        counted = [name for name in cls.divided if name != "groups"]
        if count > 1 and not counted and ways == 1 and readings:
            raise fail(
                spec.mark,
                f"{spec.name}: on {count} devices each would compute the same {spec.type} of the whole input",
                "place it on one device, write split: none, or read a split layer with connect: same",
            )
        return attrs, groups

    def _gather_all(
        self,
        spec: LayerSpec,
        cls: type[Layer],
        device: str,
        readings: list[tuple[str | None, Connection, Reading]],
        groups: int,
    ) -> dict[str, Gather]:
        if readings and readings[0][0] is None:
            try:
                pieces = join([reading for _, _, reading in readings], groups)
                return {cls.inputs[0]: self._gather(spec, device, cls.inputs[0], pieces)}
            except LayerError as error:
                raise fail(spec.mark_of("inputs"), f"{spec.name}: {error.message}", error.remedy) from None
        return {
            name: self._gather(spec, device, name, reading.pieces) for name, _, reading in readings if name is not None
        }

    def _gather(self, spec: LayerSpec, device: str, name: str, pieces: tuple[Piece, ...]) -> Gather:
        key = (device, tuple((p.part.key, p.start, p.stop) for p in pieces))
        if key not in self.gathers:
            self.gathers[key] = _new_gather(spec, device, name, pieces)
        return self.gathers[key]

    def _check_params(self, shard: Shard) -> None:
        params = shard.t.names("parameter")
        for name in shard.spec.param_multipliers:
            if name not in params:
                has = f"it has {' and '.join(params)}" if params else "it has none"
                mark = shard.spec.mark_of(f"params.{name}")
                raise fail(mark, f"{shard.spec.name}: no parameter is called '{name}'", has)
        if shard.count == 1 or by_rows(shard.spec):
            return
        stored: dict[str, Param | State] = {**shard.layer.params(*shard.inputs), **shard.layer.state(*shard.inputs)}
        for name, one in stored.items():
            if one.axis is None or shard.spec.split == "none":
                raise fail(
                    shard.spec.mark,
                    f"{shard.spec.name}: '{name}' would have to be the same on {shard.count} devices, "
                    "which needs an all-reduce that netspec does not have yet",
                    "place the layer on one device, or split it along channels",
                )


def is_label(one: InputSpec) -> bool:
    """Whether a network input takes labels."""
    return one.dtype == "int32" and not one.shape


def label_of(spec: Spec, layer: LayerSpec) -> Connection | None:
    """A layer's connection to a network input of labels; None where it has none."""
    return next((c for c in layer.inputs if c.source in spec.inputs and is_label(spec.inputs[c.source])), None)


def is_image(tensor: Tensor) -> bool:
    """Whether a network input, of images or of sequences of them, comes as bytes: the device subtracts the mean."""
    return tensor.dtype in ("float32", "bfloat16") and len(tensor.shape) in (4, 5)


def _rows(spec: LayerSpec, device: str, batch: int) -> Rows:
    """The rows of the batch that a layer has on a device."""
    return share_of(batch, len(spec.devices), spec.devices.index(device)) if by_rows(spec) else Rows(0, batch)


def _fed_rows(spec: Spec, batch: int) -> dict[tuple[str, str], Rows]:
    """The rows of each network input that its readers on a device take; all of them where they do not take the same."""
    found: dict[tuple[str, str], Rows] = {}
    for layer in spec.layers:
        for place in [(one.source, device) for one in layer.inputs for device in layer.devices]:
            rows = _rows(layer, place[1], batch)
            found[place] = rows if found.get(place, rows) == rows else Rows(0, batch)
    return found


def _output_values(spec: LayerSpec, shards: list[Shard], batch: int) -> dict[str, Value]:
    """Parts of each output of a layer: cut along channels or rows, or whole on each of its devices."""
    split, rows = spec.split == "channels" and len(shards) > 1, by_rows(spec)
    values = {}
    for name in shards[0].t.output_names:
        start, parts = 0, []
        for shard in shards:
            tensor, share = shard.t[name], share_of(batch, len(shards), shard.index)
            if rows and tensor.shape[:1] != (share.stop - share.start,):
                message = f"{spec.name}: the first axis of its output {tensor.shape} is not that of the batch's rows"
                raise fail(spec.mark_of("split"), message, "split: channels, or place it on one device")
            width = tensor.shape[-1]
            role: Role = "report" if name == "report" else "activation"
            key = of_layer(spec.name, name, role, shard.device)
            part = Part(key, tensor, start, start + width, share.start if rows else 0)
            shard.outputs[name] = part
            parts.append(part)
            start += width if split else 0
        layout = "rows" if rows else "split" if split else ("replicated" if len(parts) > 1 else "whole")
        values[name] = Value(TensorKey(name, layer=spec.name), layout, tuple(parts))  # type: ignore[arg-type]
    return values


def _new_gather(spec: LayerSpec, device: str, name: str, pieces: tuple[Piece, ...]) -> Gather:
    first = pieces[0].part.tensor
    for piece in pieces[1:]:
        if piece.part.tensor.shape[:-1] != first.shape[:-1]:
            shapes = " and ".join(str(p.part.tensor.shape) for p in (pieces[0], piece))
            raise LayerError(f"inputs joined along channels must have the same other axes, got {shapes}")
        if piece.part.tensor.dtype != first.dtype:
            stored = " and ".join(f"{p.part.key.of} in {p.part.tensor.dtype}" for p in (pieces[0], piece))
            remedy = "join them by a concat layer, or write train.precision: tf32"
            raise LayerError(f"with train.precision bf16 {stored} are stored apart", remedy)
    alone = pieces[0]
    if len(pieces) == 1 and alone.part.device == device and alone.channels == alone.part.stop - alone.part.start:
        return Gather(pieces, alone.part.key, first)
    channels = sum(piece.channels for piece in pieces)
    tensor = Tensor((*first.shape[:-1], channels), first.dtype, first.differentiable)
    return Gather(pieces, of_layer(spec.name, name, "activation", device), tensor)


def _changed_inputs(spec: LayerSpec) -> Mark | None:
    """Where a spec that extends another, or ``--set``, gives the layer other inputs."""
    inputs = spec.mark_of("inputs")
    return inputs if inputs.file != spec.mark.file else None


def _divide(spec: LayerSpec, name: str, total: int, count: int) -> int:
    if total % count:
        low = total // count * count
        raise fail(
            spec.mark_of(name),
            f"{spec.name}: {name} is {total}, which cannot be split evenly over {count} devices",
            f"use {low} or {low + count}" if low else f"use {low + count}",
        )
    return total // count


def _count(inputs: tuple[str, ...]) -> str:
    noun = "input" if len(inputs) == 1 else "inputs"
    return f"{len(inputs)} {noun} ({', '.join(inputs)})"


def _fault(cls: type[Layer], error: Exception) -> str:
    """A layer's shape rule that raised what it should not, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"layer type '{cls.type}' fails at {frame.filename}:{frame.lineno}: {type(error).__name__}: {error}"


def _origin(gathers: Mapping[str, Gather]) -> str:
    """The inputs' shapes and makers, for a shape error: both layers and both shapes are named."""
    told = []
    for gather in gathers.values():
        sources = ", ".join(dict.fromkeys(str(piece.part.key.of) for piece in gather.pieces))
        told.append(f"{sources} {gather.tensor.shape}")
    return f"; it reads {' and '.join(told)}"
