"""Random small networks of every layer type, for two devices and for one."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from places import PLUGINS

from netspec.registry import load_plugin

SIDE = 5
HEAD = """netspec: 1
name: random
devices: [{devices}]
inputs:
  image: {{shape: [5, 5, 3]}}
  label: {{dtype: int32}}
defaults:
  conv: {{init: {{type: gaussian, std: 0.2}}, bias_init: 0.1}}
  dense: {{init: {{type: gaussian, std: 0.1}}}}
  local: {{init: {{type: gaussian, std: 0.2}}}}
layers:
"""
TAIL = "train: {batch: 6, seed: 5}\ndata: {mean: none, scale: 0.01}\n"
PLUGIN = PLUGINS / "centred.py"
"""A layer with state."""
POINTWISE = {"relu": "", "tanh": "", "logistic": "", "dropout": ", keep: 0.7"}
SPATIAL = {
    "lrn": [", size: 3, alpha: 0.3, beta: 0.75, k: 2.0"], "lrn_within": [", size: 3, alpha: 0.3, beta: 0.75, k: 1.0"],
    "pool": [f", mode: {mode}, size: 3, stride: 1, pad: 1" for mode in ("max", "average")], "centred": [", keep: 0.4"],
}  # fmt: skip
MIXING = ("conv", "lrn", "concat", "local")
SHARING = ("conv", "local", "dense", "centred")


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


@dataclass
class Writer:
    """Writes one random network twice: over two devices, and on one with groups where the towers were apart."""

    chance: random.Random
    two: list[str] = field(default_factory=list)
    one: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)

    def layer(
        self, kind: str, sources: list[Value], channels: int, rest: str, split: bool, every: bool, image: bool = True
    ) -> None:
        """Add a layer; ``every`` reads all of its sources, across devices."""
        shared = (kind, channels, rest, split, every, [(s.channels, s.split) for s in sources])
        if kind in SHARING and self.chance.random() < 0.5:
            owner = next((value.name for value in self.values if value.shared == shared), None)
            rest, shared = (rest + f", share: {owner}", None) if owner else (rest, shared)  # type: ignore[assignment]
        name = f"{kind}{len(self.values)}"
        apart = split and not every and bool(sources) and sources[0].split
        inputs = [f"{{from: {s.name}, connect: all}}" if every else s.name for s in sources] or ["image"]
        plain = [s.name for s in sources] or ["image"]
        place = "[left, right]" if split else "left"
        groups = ", groups: 2" if apart and kind in MIXING else ""
        self.two.append(f"  - {{name: {name}, type: {kind}, device: {place}, inputs: [{', '.join(inputs)}]{rest}}}")
        self.one.append(f"  - {{name: {name}, type: {kind}, inputs: [{', '.join(plain)}]{rest}{groups}}}")
        for source in sources:
            source.read = True
        self.values.append(Value(name, channels, split, image, shared if kind in SHARING else None))

    def grow(self) -> None:
        """Add one layer on values there are."""
        source = self.chance.choice(self.values)
        kind = self.chance.choice(["pointwise", *2 * ("spatial", "conv", "dense"), "local", "sum", "concat"])
        if kind == "pointwise" or not source.image:
            kind, rest = self.chance.choice(sorted(POINTWISE.items()))
            self.layer(kind, [source], source.channels, rest, source.split, False, source.image)
        elif kind == "spatial":
            kind, rests = self.chance.choice(sorted(SPATIAL.items()))
            self.layer(kind, [source], source.channels, self.chance.choice(rests), source.split, False)
        elif kind == "dense":
            self.flatten(source)
        elif kind in ("conv", "local"):
            filters = self.chance.choice([4, 8])
            every = not source.split or self.chance.random() < 0.5
            split = not every or self.chance.random() < 0.6
            self.layer(kind, [source], filters, f", filters: {filters}, size: 3, pad: 1", split, every)
        else:
            self.join(kind, source)

    def flatten(self, source: Value) -> None:
        """A dense layer of all of a value, on one device or two; what lies whole may be flattened before."""
        whole = [value for value in self.values if value.image and not value.split]
        if whole and self.chance.random() < 0.5:
            source = self.chance.choice(whole)
            self.layer("flatten", [source], source.channels * SIDE * SIDE, "", False, False, False)
            source = self.values[-1]
        self.layer("dense", [source], 6, ", units: 6", self.chance.random() < 0.5, True, False)

    def join(self, kind: str, source: Value) -> None:
        """A sum or a concatenation of two values that lie alike."""
        beside = [value for value in self.values if value.split == source.split and value.image]
        alike = [value for value in beside if kind == "concat" or value.channels == source.channels]
        other = self.chance.choice(alike)
        if other is source:
            return
        channels = source.channels + other.channels if kind == "concat" else source.channels
        self.layer(kind, [source, other], channels, "", source.split, False)

    def finish(self) -> tuple[str, str]:
        """Read what nobody has read, and add the cost."""
        for value in [value for value in self.values if not value.read and value.image]:
            self.layer("dense", [value], 5, ", units: 5", False, True, False)
        loose = [value for value in self.values if not value.read]
        self.layer("dense", loose, 5, ", units: 5", False, True, False)
        for lines in (self.two, self.one):
            lines.append(f"  - {{name: loss, type: softmax_loss, inputs: [{self.values[-1].name}, label]}}")
        two = HEAD.format(devices="left, right") + "\n".join(self.two) + "\n" + TAIL
        return two, HEAD.format(devices="main") + "\n".join(self.one) + "\n" + TAIL


def write(seed: int) -> tuple[str, str]:
    """A random network for two devices and the same for one."""
    load_plugin(PLUGIN)
    writer = Writer(random.Random(seed))
    writer.layer("conv", [], 8, ", filters: 8, size: 3, pad: 1", True, False)
    for _ in range(writer.chance.randint(3, 9)):
        writer.grow()
    return writer.finish()
