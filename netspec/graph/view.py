"""What a picture of a Plan shows, before anything has a place: nodes, links and totals, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from netspec.contract.tensor import Shape
from netspec.graph.labels import attribute_text, shape_text
from netspec.planning.plan import Edge, Plan, ShardInfo
from netspec.units import many, scaled, size

NodeKind = Literal["input", "layer", "cost"]


class NodeKey(NamedTuple):
    """Which node: ``conv1@left``."""

    name: str
    device: str

    def __str__(self) -> str:
        return f"{self.name}@{self.device}"


@dataclass(frozen=True, slots=True)
class Node:
    """A layer, or a network input, on one device; ``rows``: of some rows of the batch alone.

    ``within`` has the frames round it, the outermost first.
    """

    name: str
    device: str
    kind: NodeKind
    type: str
    shape: str
    details: tuple[str, ...]
    parameters: int
    rows: bool = False
    within: tuple[str, ...] = ()

    @property
    def key(self) -> NodeKey:
        """What links know it by."""
        return NodeKey(self.name, self.device)


@dataclass(frozen=True, slots=True)
class Link:
    """One node reading another; ``bytes`` is what crosses for a batch, None where nothing is sent for this link."""

    source: NodeKey
    target: NodeKey
    crossing: bool
    bytes: int | None


@dataclass(frozen=True, slots=True)
class View:
    """A whole picture; nodes in the order of the spec, ``headings`` a line for each device."""

    name: str
    totals: tuple[str, ...]
    traffic: str
    headings: Mapping[str, str]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    batch: int
    backward: bool


def title(shown: View) -> str:
    """The picture in one line."""
    return "; ".join(filter(None, (f"{shown.name}: {shown.totals[0]}", *shown.totals[1:], shown.traffic)))


def view(plan: Plan) -> View:
    """What there is to draw of a plan."""
    layers = {(shard.layer, shard.device) for shard in plan.shards}
    shapes = {(edge.source, edge.source_device): edge.shape for edge in plan.edges}
    nodes = [_input(*place, shape, plan.batch) for place, shape in shapes.items() if place not in layers]
    nodes += [_layer(shard, plan.batch) for shard in plan.shards]
    return View(
        name=plan.name,
        totals=_totals(plan),
        traffic=_traffic(plan),
        headings={device: _heading(plan, device) for device in plan.devices},
        nodes=tuple(nodes),
        links=tuple(_link(edge, plan) for edge in plan.edges),
        batch=plan.batch,
        backward=plan.phase == "train",
    )


def _input(name: str, device: str, shape: Shape, batch: int) -> Node:
    words = " of ".join(filter(None, (*_rows(shape, batch), shape_text(shape))))
    return Node(name, device, "input", "input", words, (), 0, rows=shape[0] < batch)


def _rows(shape: Shape, batch: int) -> tuple[str, ...]:
    """How many rows of the batch the device has, where it has not all of them."""
    return (many(shape[0], "row"),) if shape[0] < batch else ()


def _layer(shard: ShardInfo, batch: int) -> Node:
    cost = "report" in shard.outputs
    rows = () if cost else _rows(next(iter(shard.outputs.values())), batch)
    shape = "" if cost else shape_text(next(iter(shard.outputs.values())))
    kind: NodeKind = "cost" if cost else "layer"
    details = (*rows, *_details(shard))
    own = kind, shard.type, shape, details, shard.parameters
    return Node(shard.layer, shard.device, *own, rows=bool(rows), within=shard.within)


def _details(shard: ShardInfo) -> tuple[str, ...]:
    """Attributes that shape the layer: whole numbers and words, unless defaults or told by the output's shape."""
    cls = type(shard.instance)
    counts = [name for name in cls.divided if name != "groups"]
    return tuple(
        attribute_text(name, value)
        for name, value in shard.attrs.items()
        if name not in counts and _telling(name, value, cls.attrs_schema.get(name, {}))
    )


def _telling(name: str, value: Any, schema: Mapping[str, Any]) -> bool:
    if value is None or isinstance(value, bool | float | Mapping) or value == schema.get("default"):
        return False
    return not (name == "groups" and value == 1)


def _link(edge: Edge, plan: Plan) -> Link:
    moved = [
        one.bytes
        for one in plan.crossings
        if edge.crossing
        and one.direction == "forward"
        and (one.layer, one.source.owner) == (edge.target, edge.source)
        and (one.from_device, one.to_device) == (edge.source_device, edge.target_device)
    ]
    source, target = NodeKey(edge.source, edge.source_device), NodeKey(edge.target, edge.target_device)
    return Link(source, target, edge.crossing, sum(moved) if moved else None)


def _totals(plan: Plan) -> tuple[str, ...]:
    forward = sum(shard.forward_flops for shard in plan.shards)
    backward = sum(shard.backward_flops for shard in plan.shards)
    work = f"{_work(forward, plan)} an image forward"
    if backward:
        work += f", {_work(backward, plan)} backward"
    return many(_parameters(shard for shard in plan.shards if not shard.copied), "parameter"), work


def _traffic(plan: Plan) -> str:
    moved = sum(one.bytes for one in plan.crossings)
    if not moved:
        return "" if len(plan.devices) < 2 else "nothing crosses between the devices"
    return f"{size(moved)} cross between the devices for {_images(plan)}"


def _images(plan: Plan) -> str:
    return f"a batch of {plan.batch}" if plan.replicas == 1 else f"a replica of {plan.batch}"


def _heading(plan: Plan, device: str) -> str:
    shards = [shard for shard in plan.shards if shard.device == device]
    forward = sum(shard.forward_flops for shard in shards)
    return f"{many(_parameters(shards), 'parameter')} · {_work(forward, plan)} forward"


def _work(operations: float, plan: Plan) -> str:
    return scaled(operations / plan.batch, "FLOP") or "0 FLOP"


def _parameters(shards: Iterable[ShardInfo]) -> int:
    return sum(shard.parameters for shard in shards)
