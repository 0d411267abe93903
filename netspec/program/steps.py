"""Lowering steps: kernels chosen for the device's kind, unneeded passes dropped, workspace added."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, cast

from netspec.contract.kernel import Backend, Direction, Kernel
from netspec.contract.keys import key_of
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import tensor_of
from netspec.contract.tensor import Tensor
from netspec.ops import operation
from netspec.ops.base import Operation
from netspec.planning.plan import Buffer, Pass, Plan, Region, ShardInfo, Step
from netspec.program.choice import Capability, Measured, choose
from netspec.program.passes import lower
from netspec.registry import layer_types


class Lowering:
    """Turns a plan's steps into steps with passes; collects the workspace they need."""

    def __init__(
        self,
        plan: Plan,
        kinds: Mapping[str, Backend],
        team_sizes: Mapping[str, int],
        seed: int,
        without: Mapping[Backend, Collection[str]] | None = None,
        measured: Mapping[str, Measured] | None = None,
        capabilities: Mapping[str, Capability | None] | None = None,
    ) -> None:
        self.plan, self.kinds, self.team_sizes, self.seed = plan, kinds, team_sizes, seed
        self.without, self.measured, self.capabilities = without or {}, measured or {}, capabilities or {}
        self.shards = {(shard.layer, shard.device): shard for shard in plan.shards}
        self.buffers: dict[str, Buffer] = dict(plan.buffers)

    def lower(self, step: Step) -> Step:
        """The step with its passes; feeds, copies and scalars have none."""
        if step.op in ("forward", "backward"):
            return self._layer_step(step)
        if step.op in ("feed", "copy", "scalars"):
            return step
        return replace(step, passes=tuple(self._operation(step)))

    # Layers ---------------------------------------------------------------------------------------------------------

    def _layer_step(self, step: Step) -> Step:
        assert step.layer is not None
        layer, t = instance(self.shards[step.layer, step.device])
        kind, direction = self.kinds[step.device], cast(Direction, step.op)
        without, measured = self.without.get(kind, ()), self.measured.get(step.device, {})
        capability = self.capabilities.get(step.device)
        variant, by_measurement = choose(step, layer, t, kind, without, measured, capability)
        keys = {
            "key": key_of(self.seed, step.attrs["key"]),
            "channel_offset": step.attrs["channel_offset"],
            "channel_count": step.attrs["channel_count"],
        }
        passes = _needed(lower(layer, t, kind, direction, variant, keys), set(step.writes))
        args = self._arguments(step, layer, t, passes)
        written = {name for one in passes for name in one.writes}
        return replace(
            step,
            args=args,
            writes=tuple(name for name in args if name in written),
            attrs={**step.attrs, "variant": variant, **({"tuned": True} if by_measurement else {})},
            passes=passes,
        )

    def _arguments(self, step: Step, layer: Layer, t: Tensors, passes: Sequence[Pass]) -> dict[str, Region]:
        """Regions of what the passes take: the plan's, workspace, and a place for results nobody needs."""
        direction = cast(Direction, step.op)
        spaces = {
            name: space
            for variant in {one.variant for one in passes}
            for name, space in layer.workspace(t, variant, direction).items()
        }
        args: dict[str, Region] = {}
        for name in dict.fromkeys(target for one in passes for _, target in one.args if target is not None):
            if name in step.args:
                args[name] = step.args[name]
            elif name in spaces:
                members = (self.team_sizes[step.device],) if spaces[name].per == "member" else ()
                args[name] = self._workspace(step, name, (*members, *spaces[name].shape), spaces[name].dtype)
            else:
                tensor = tensor_of(name, vars(t))
                args[name] = self._workspace(step, name, tensor.shape, tensor.dtype)
        return args

    def _workspace(self, step: Step, name: str, shape: tuple[int, ...], dtype: str) -> Region:
        buffer = f"{step.name}:{name}"
        self.buffers[buffer] = Buffer(buffer, step.device, shape, dtype, "workspace")
        return Region(buffer)

    # Operations -----------------------------------------------------------------------------------------------------

    def _operation(self, step: Step) -> list[Pass]:
        kind = self.kinds[step.device]
        chosen = operation(step.op)
        shapes = {name: self._shape(step, name) for name in step.args}
        fours = all(self._is_in_fours(region) for region in step.args.values())
        return [
            _operation_pass(step, _find(chosen, name, kind, fours), mapping, shapes)
            for name, mapping in chosen.bindings(list(step.args))
        ]

    def _is_in_fours(self, region: Region) -> bool:
        """Whether rows of the last axis, and the range of it, begin and end at multiples of four elements."""
        shape = self.buffers[region.buffer].shape
        ends = (region.start, region.stop) if region.axis == len(shape) - 1 else ()
        return all(place % 4 == 0 for place in (*shape[-1:], *ends))

    def _shape(self, step: Step, name: str) -> tuple[int, ...]:
        region = step.args[name]
        shape = list(self.buffers[region.buffer].shape)
        if region.axis is not None:
            shape[region.axis] = region.stop - region.start
        return (prod(shape[:-1]), shape[-1]) if step.op == "sum" else tuple(shape)


def instance(shard: ShardInfo) -> tuple[Layer, Tensors]:
    """The layer instance that a shard of a plan stands for, with its tensors."""
    layer = layer_types()[shard.type](shard.attrs, shard.phase)
    inputs = [
        None if shape is None else Tensor(tuple(shape), shard.dtypes[name]) for name, shape in shard.inputs.items()
    ]
    return layer, layer.tensors(inputs)


def _needed(passes: Sequence[Pass], needed: set[str]) -> tuple[Pass, ...]:
    """Passes that write something needed, or something that such a pass reads later."""
    kept: list[Pass] = []
    for one in reversed(passes):
        if needed & set(one.writes):
            needed |= {target for _, target in one.args if target is not None}
            kept.append(one)
    return tuple(reversed(kept))


def _find(chosen: type[Operation], name: str, kind: Backend, fours: bool) -> Kernel:
    kernels = {kernel.function.__name__: kernel for kernel in chosen.kernels}
    fast = kernels.get(f"{name}_vector_{kind}") if fours else None
    return fast or kernels[f"{name}_{kind}"]


def _operation_pass(
    step: Step, kernel: Kernel, mapping: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> Pass:
    targets = {name: mapping.get(name, name) for name in kernel.args}
    scalars: dict[str, Any] = {name: float(step.attrs[name]) for name in kernel.args if targets[name] not in shapes}
    over = shapes[mapping.get(kernel.over, kernel.over)]
    extent = prod(over) if kernel.axes is None else prod(over[axis] for axis in kernel.axes)
    block = cast(int, kernel.block)
    threads = (kernel.threads,) if isinstance(kernel.threads, int) else kernel.threads
    return Pass(
        kernel=f"ops.{step.op}:{kernel.function.__name__}",
        variant=kernel.variant,
        args=tuple((name, None if name in scalars else targets[name]) for name in kernel.args),
        scalars=scalars,
        writes=tuple(mapping.get(name, name) for name in kernel.writes),
        extent=extent,
        block=min(block, extent),
        grid=(-(-extent // (prod(threads) * kernel.per_thread)),),
        threads=threads,
        flat=tuple(t for n, t in targets.items() if kernel.flat and n not in scalars and shapes[t] == over),
        per_member=(),
        host=False,
        dtype="float32",
    )
