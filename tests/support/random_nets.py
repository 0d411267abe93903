"""Random small networks of every layer type, for two devices and for one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from places import PLUGINS

from netspec.registry import load_plugin

SIDE = 5
HEAD = """netspec: 1
name: random
devices: [{devices}]
inputs:
  {image}: {{shape: [5, 5, 3]}}
  {label}: {{dtype: int32}}
defaults:
  conv: {{init: {{type: gaussian, std: 0.2}}, bias_init: 0.1}}
  conv_transpose: {{init: {{type: gaussian, std: 0.2}}, bias_init: 0.1}}
  dense: {{init: {{type: gaussian, std: 0.1}}}}
  local: {{init: {{type: gaussian, std: 0.2}}}}
layers:
"""
TAIL = "train: {batch: 6, seed: 5}\ndata: {mean: none, scale: 0.01}\n"
PLUGIN = PLUGINS / "centred.py"
"""A layer with state."""
POINTWISE = {
    "relu": "", "tanh": "", "logistic": "", "dropout": ", keep: 0.7", "leaky_relu": ", slope: 0.2", "elu": "",
    "gelu": "", "silu": "", "hardswish": "", "prelu": "", "scale": "", "batch_norm": ", momentum: 0.4",
    "clip": ", low: -0.2, high: 0.4",
}  # fmt: skip
SPATIAL = {
    "lrn": [", size: 3, alpha: 0.3, beta: 0.75, k: 2.0"], "lrn_within": [", size: 3, alpha: 0.3, beta: 0.75, k: 1.0"],
    "pool": [f", mode: {mode}, size: 3, stride: 1, pad: 1" for mode in ("max", "average")], "centred": [", keep: 0.4"],
    "adaptive_pool": [", out: 5"],
    "layer_norm": [""], "group_norm": [", groups: 2"], "softmax": [""], "upsample": [", factor: 1"],
    "pad": [", top: 1, bottom: -1, left: -1, right: 1, value: 0.2"],
}  # fmt: skip
OTHERS = ("local", "conv_transpose", "sum", "concat", "eltwise", "gate", "whole")
MIXING = ("conv", "conv_transpose", "lrn", "concat", "local", "layer_norm", "softmax")
WHOLE_BATCH = ("batch_norm",)
"""Layers that give another function where each device has rows of the batch."""
SHARING = ("conv", "conv_transpose", "local", "dense", "centred")


@dataclass
class Value:
    """A layer's output: channels of the whole, whether it is split, is an image, and whether anything has read it.

    ``shared`` tells layers apart that cannot share parameters; None: it has none.
    """

    name: str
    channels: int
    split: bool
    image: bool = True
    shared: tuple[object, ...] | None = None
    read: bool = False
    lines: bool = False
    """Rows of pixels, which only flatten takes."""
    by_rows: tuple[str, ...] = ()
    """Devices that have rows of the batch each."""


@dataclass
class Names:
    """What inputs, devices and layers are called; ``layers`` maps those of the plain names."""

    image: str = "image"
    label: str = "label"
    left: str = "left"
    right: str = "right"
    layers: Callable[[str], str] = str


@dataclass
class Writer:
    """Writes one random network twice: over two devices, and on one with groups where the towers were apart."""

    chance: random.Random
    names: Names = field(default_factory=Names)
    two: list[str] = field(default_factory=list)
    one: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    rows: tuple[str, ...] = ()
    """Devices over which some layers are split by rows; none: no layer is."""

    def layer(
        self, kind: str, sources: list[Value], channels: int, rest: str, split: bool, every: bool, image: bool = True
    ) -> None:
        """Add a layer; ``every`` reads all of its sources, across devices."""
        by_rows = self._takes_rows(kind, sources, every)
        if by_rows or any(source.by_rows for source in sources):
            split, every = split and not by_rows and every, True
        shared = (kind, channels, rest, split, every, by_rows, [(s.channels, s.split) for s in sources])
        # by rows a layer that shares a state reads what the one before it has found for its own rows alone
        if kind in SHARING and not (by_rows and kind == "centred") and self.chance.random() < 0.5:
            owner = next((value.name for value in self.values if value.shared == shared), None)
            rest, shared = (rest + f", share: {owner}", None) if owner else (rest, shared)  # type: ignore[assignment]
        name = self.names.layers(f"{kind}{len(self.values)}")
        apart = split and not every and bool(sources) and sources[0].split
        same = [s.by_rows == by_rows if by_rows else not every for s in sources]
        reads = zip(sources, same, strict=True)
        inputs = [s.name if here else f"{{from: {s.name}, connect: all}}" for s, here in reads] or [self.names.image]
        plain = [s.name for s in sources] or [self.names.image]
        place = f"[{self.names.left}, {self.names.right}]" if split else self.names.left
        place = f"[{', '.join(by_rows)}], split: batch" if by_rows else place
        groups = ", groups: 2" if apart and kind in MIXING else ""
        self.two.append(f"  - {{name: {name}, type: {kind}, device: {place}, inputs: [{', '.join(inputs)}]{rest}}}")
        self.one.append(f"  - {{name: {name}, type: {kind}, inputs: [{', '.join(plain)}]{rest}{groups}}}")
        for source in sources:
            source.read = True
        self.values.append(Value(name, channels, split, image, shared if kind in SHARING else None, by_rows=by_rows))

    def _takes_rows(self, kind: str, sources: list[Value], every: bool) -> tuple[str, ...]:
        """Devices that take rows: mostly those of the first source."""
        if not self.rows or kind in WHOLE_BATCH:
            return ()
        before = next((source.by_rows for source in sources if source.by_rows), ())
        if not sources:
            return self.rows
        if self.chance.random() < 0.5 or (before and not every):
            others = [self.rows, self.rows[1::-1], self.rows[-2:]]
            return before if before and self.chance.random() < 0.7 else self.chance.choice(others)
        return ()

    def grow(self) -> None:
        """Add one layer on values there are."""
        source = self.chance.choice([value for value in self.values if not value.lines])
        kind = self.chance.choice(["pointwise", "conv", "centred", *2 * ("spatial", "conv", "dense"), *OTHERS])
        if kind == "pointwise" or not source.image:
            kind, rest = self.chance.choice(sorted(POINTWISE.items()))
            self.layer(kind, [source], source.channels, rest, source.split, False, source.image)
        elif kind in ("spatial", "centred"):
            kind = self.chance.choice(sorted(SPATIAL)) if kind == "spatial" else kind
            rests = SPATIAL[kind]
            self.layer(kind, [source], source.channels, self.chance.choice(rests), source.split, False)
        elif kind == "dense":
            self.flatten(source)
        elif kind in ("conv", "local", "conv_transpose"):
            filters = self.chance.choice([4, 8])
            every = not source.split or self.chance.random() < 0.5
            split = not every or self.chance.random() < 0.6
            self.layer(kind, [source], filters, f", filters: {filters}, size: 3, pad: 1", split, every)
        elif kind == "whole":
            self.rearrange()
        else:
            self.join(self.chance.choice(["product", "axpby"]) if kind == "eltwise" else kind, source)

    def flatten(self, source: Value) -> None:
        """A dense layer of a value, on one device or two; what lies whole may be flattened before, or cut to a row."""
        whole = [value for value in self.values if value.image and not value.split]
        if whole and self.chance.random() < 0.5:
            source = self.chance.choice(whole)
            side = SIDE
            if self.chance.random() < 0.5:
                self.layer("select", [source], source.channels, ", index: 2", False, False, False)
                source, side = self.values[-1], 1
                source.lines = True
            self.layer("flatten", [source], source.channels * side * SIDE, "", False, False, False)
            source = self.values[-1]
        self.layer("dense", [source], 6, ", units: 6", self.chance.random() < 0.5, True, False)

    def rearrange(self) -> None:
        """Height and width exchanged, or half of the channels, of what lies whole."""
        whole = [value for value in self.values if value.image and not value.split and value.channels % 4 == 0]
        if not whole:
            return
        source, half = self.chance.choice(whole), self.chance.random() < 0.5
        if half:
            count = source.channels // 2
            self.layer("slice", [source], count, f", first: 1, count: {count}", False, False)
        else:
            self.layer("permute", [source], source.channels, ", order: [2, 1, 3]", False, False)

    def join(self, kind: str, source: Value) -> None:
        """A sum, a product or a concatenation of two values that lie alike."""
        beside = [value for value in self.values if value.split == source.split and value.image]
        alike = [value for value in beside if kind == "concat" or value.channels == source.channels]
        other = self.chance.choice(alike)
        if other is source:
            return
        if kind == "gate":
            self.layer("pool", [other], other.channels, ", mode: average, size: image", other.split, False, False)
            other = self.values[-1]
            other.lines = True
        channels = source.channels + other.channels if kind == "concat" else source.channels
        self.layer(kind, [source, other], channels, ", alpha: 0.5" if kind == "axpby" else "", source.split, False)

    def finish(self) -> tuple[str, str]:
        """Read what nobody has read, and add the cost."""
        for value in [value for value in self.values if not value.read and value.image]:
            self.layer("dense", [value], 5, ", units: 5", False, True, False)
        loose = [value for value in self.values if not value.read]
        devices, self.rows = self.rows, ()  # costs read what lies on one device
        self.layer("dense", loose, 5, ", units: 5", False, True, False)
        for lines in (self.two, self.one):
            reads, loss = f"[{self.values[-1].name}, {self.names.label}]", self.names.layers("loss")
            lines.append(f"  - {{name: {loss}, type: softmax_loss, inputs: {reads}}}")
        inputs = {"image": self.names.image, "label": self.names.label}
        two = HEAD.format(devices=", ".join(devices or (self.names.left, self.names.right)), **inputs)
        one = HEAD.format(devices="main", **inputs)
        return two + "\n".join(self.two) + "\n" + TAIL, one + "\n".join(self.one) + "\n" + TAIL


def nasty(seed: int) -> Names:
    """Legal names that look like something else: a gradient, a next value, a step, a device, a buffer of every plan."""
    chance = random.Random(f"names {seed}")
    pool, given = [*LOOKALIKES], dict[str, str]()

    def fresh() -> str:
        name = chance.choice(pool)
        pool.remove(name)
        return name

    def layer(plain: str) -> str:
        if plain not in given:
            other = chance.choice([*given.values(), *DEVICES])
            made = chance.choice(("d_{}", "d{}", "next_{}", "{}_update", "{}-fetch0", "{}_momentum", "{}-from0"))
            name = fresh() if chance.random() < 0.5 else made.format(other)
            given[plain] = name if name not in (image, label, *given.values()) else fresh()
        return given[plain]

    image, label = fresh(), fresh()
    left, right = chance.sample(DEVICES, 2)
    return Names(image, label, left, right, layer)


LOOKALIKES = (
    "counters rates flags finite scalars agree feed prepare forward backward copy sum update commit fetch1 total zero"
    " from0 uint8 mean report probs x x0 x1 y d_x d_y dx dy d_ d next_ next_mean weight bias d_weight momentum left"
    " right d_left left_y image label derived workspace arena source target source0 param gradient state following"
    " verdict key channel_offset start stop ops beside _ __init__ conv-1 conv_1 Conv_1 d_conv d_d_conv"
).split()
DEVICES = ("left", "right", "d_left", "conv", "y", "counters", "finite", "x-y", "image", "total")


def write(seed: int, names: Names | None = None, rows: tuple[str, ...] = ()) -> tuple[str, str]:
    """A random network for two devices and the same for one; some layers split by rows over the devices ``rows``."""
    load_plugin(PLUGIN)
    writer = Writer(random.Random(seed), names or Names(), rows=rows)
    writer.layer("conv", [], 8, ", filters: 8, size: 3, pad: 1", True, False)
    for _ in range(writer.chance.randint(3, 9)):
        writer.grow()
    return writer.finish()
