"""Lowering steps: kernels chosen for the device's kind, unneeded passes dropped, workspace added."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, cast

from netspec.contract.kernel import Backend, Direction, Kernel
from netspec.contract.keys import key_of
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import Argument
from netspec.contract.variant import Capability
from netspec.ops import operation
from netspec.ops.base import Operation
from netspec.planning.identities import BETWEEN_PROCESSES, BufferKey, of_layer
from netspec.planning.plan import Buffer, Pass, Plan, Region, Step
from netspec.program.choice import Measured, choose
from netspec.program.passes import lower
from netspec.solvers import Solver, solver_types

_FACTORS = {"tf32": "tf32", "bf16": "bfloat16"}
"""How variants called so, or so with more behind it, round the factors of products."""


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
        self.shards = plan.by_place()
        self.buffers: dict[BufferKey, Buffer] = dict(plan.buffers)

    def lower(self, step: Step) -> Step:
        """The step with its passes; feeds, scalars and what moves between devices or processes have none."""
        if step.op in ("forward", "backward"):
            return self._layer_step(step)
        if step.op in ("feed", "copy", "scalars", *BETWEEN_PROCESSES):
            return step
        return replace(step, passes=tuple(self._operation(step)))

    # Layers ---------------------------------------------------------------------------------------------------------

    def _layer_step(self, step: Step) -> Step:
        shard = self.shards[step.layer, step.device]
        layer, t = shard.instance, shard.tensors
        kind, direction = self.kinds[step.device], cast(Direction, step.op)
        without, measured = self.without.get(kind, ()), self.measured.get(step.device, {})
        capability = self.capabilities.get(step.device)
        variant, by_measurement = choose(step, layer, t, kind, without, measured, capability)
        keys = {
            "key": key_of(self.seed, step.attrs["key"]),
            "channel_offset": step.attrs["channel_offset"],
            "channel_count": step.attrs["channel_count"],
        }
        made = lower(layer, t, kind, direction, variant, keys, per_replica=step.attrs.get("per_replica", 0))
        kept = self._kept(step, layer, t, variant)
        passes = _needed([one for one in made if not kept.keys() >= set(one.writes)], set(step.writes))
        args = self._arguments(step, layer, t, passes, kept)
        written = {target for one in passes for target in one.writes}
        return replace(
            step,
            args=args,
            writes=tuple(one for one in args if one in written),
            attrs={**step.attrs, "variant": variant, **({"tuned": True} if by_measurement else {})},
            passes=passes,
            compute=_FACTORS.get(variant.partition("_")[0], "float32"),
        )

    def _kept(self, step: Step, layer: Layer, t: Tensors, variant: str) -> dict[Argument, Region]:
        """Workspace that the forward step has filled for the backward step too."""
        assert step.layer is not None
        found = {}
        for name, space in layer.workspace(t, variant, "backward").items() if step.op == "backward" else ():
            key = of_layer(step.layer, name, "workspace", step.device, "forward")
            if space.per == "iteration" and self.buffers.get(key) == Buffer(key, space.shape, space.dtype):
                found[Argument(name)] = Region(key)
        return found

    def _arguments(
        self, step: Step, layer: Layer, t: Tensors, passes: Sequence[Pass], kept: Mapping[Argument, Region]
    ) -> dict[Argument, Region]:
        """Regions of what the passes take: the plan's, workspace, and a place for results nobody needs."""
        direction = cast(Direction, step.op)
        spaces = {
            name: space
            for variant in {one.variant for one in passes}
            for name, space in layer.workspace(t, variant, direction).items()
        }
        args: dict[Argument, Region] = {}
        for taken in dict.fromkeys(target for one in passes for _, target in one.args if target is not None):
            if taken in step.args or taken in kept:
                args[taken] = step.args.get(taken) or kept[taken]
            elif taken.tensor in spaces:
                space = spaces[taken.tensor]
                members = (self.team_sizes[step.device],) if space.per == "member" else ()
                args[taken] = self._workspace(step, taken, (*members, *space.shape), space.dtype)
            else:
                tensor = t.of(taken)
                args[taken] = self._workspace(step, taken, tensor.shape, tensor.dtype)
        return args

    def _workspace(self, step: Step, taken: Argument, shape: tuple[int, ...], dtype: str) -> Region:
        """Scratch memory of a step, named as the kernel names it. Raises ValueError for a second of one name."""
        assert step.layer is not None
        key = of_layer(step.layer, str(taken), "workspace", step.device, cast(Direction, step.op))
        if key in self.buffers:
            raise ValueError(f"the workspace '{key}' is in the program already")
        self.buffers[key] = Buffer(key, shape, dtype)
        return Region(key)

    # Operations -----------------------------------------------------------------------------------------------------

    def _operation(self, step: Step) -> list[Pass]:
        solver = step.attrs.get("solver")
        owner, chosen = (f"ops.{step.op}", operation(step.op)) if solver is None else _solver(solver)
        shapes = {one: self._shape(step, region) for one, region in step.args.items()}
        fours = all(self._is_in_fours(region) for region in step.args.values())
        return _passes(owner, chosen, shapes, self.kinds[step.device], step.attrs, fours)

    def _is_in_fours(self, region: Region) -> bool:
        """Whether rows of the last axis, and the range of it, begin and end at multiples of four elements."""
        shape = self.buffers[region.buffer].shape
        ends = (region.start, region.stop) if region.axis == len(shape) - 1 else ()
        return all(place % 4 == 0 for place in (*shape[-1:], *ends))

    def _shape(self, step: Step, region: Region) -> tuple[int, ...]:
        shape = region.shape_in(self.buffers[region.buffer].shape)
        return (prod(shape[:-1]), shape[-1]) if step.op == "sum" else shape


def operation_passes(op: str, shapes: Mapping[Argument, tuple[int, ...]], kind: Backend) -> list[Pass]:
    """The passes of an operation that is no step of a plan, on arguments of these shapes."""
    return _passes(f"ops.{op}", operation(op), shapes, kind, {}, False)


def _passes(
    owner: str,
    chosen: type[Operation] | type[Solver],
    shapes: Mapping[Argument, tuple[int, ...]],
    kind: Backend,
    attrs: Mapping[str, Any],
    fours: bool,
) -> list[Pass]:
    return [
        _operation_pass(attrs, owner, _find(chosen, name, kind, fours), mapping, shapes)
        for name, mapping in chosen.bindings(list(shapes))
    ]


def _needed(passes: Sequence[Pass], needed: set[Argument]) -> tuple[Pass, ...]:
    """Passes that write something needed, or something that such a pass reads later."""
    kept: list[Pass] = []
    for one in reversed(passes):
        if needed & set(one.writes):
            needed |= {target for _, target in one.args if target is not None}
            kept.append(one)
    return tuple(reversed(kept))


def _solver(name: str) -> tuple[str, type[Solver]]:
    return f"solvers.{name}", solver_types()[name]


def _find(chosen: type[Operation] | type[Solver], name: str, kind: Backend, fours: bool) -> Kernel:
    kernels = {kernel.function.__name__: kernel for kernel in chosen.kernels}
    fast = kernels.get(f"{name}_vector_{kind}") if fours else None
    return fast or kernels[f"{name}_{kind}"]


def _operation_pass(
    attrs: Mapping[str, Any],
    owner: str,
    kernel: Kernel,
    mapping: Mapping[str, Argument],
    shapes: Mapping[Argument, tuple[int, ...]],
) -> Pass:
    targets = {name: mapping.get(name, Argument(name)) for name in (*kernel.args, *kernel.writes, kernel.over)}
    args = tuple((name, targets[name] if targets[name] in shapes else None) for name in kernel.args)
    over = shapes[targets[kernel.over]]
    extent = prod(over) if kernel.axes is None else prod(over[axis] for axis in kernel.axes)
    block = cast(int, kernel.block)
    threads = (kernel.threads,) if isinstance(kernel.threads, int) else kernel.threads
    return Pass(
        kernel=f"{owner}:{kernel.function.__name__}",
        variant=kernel.variant,
        args=args,
        scalars={name: float(attrs[name]) for name, target in args if target is None},
        writes=tuple(targets[name] for name in kernel.writes),
        extent=extent,
        block=min(block, extent),
        grid=(-(-extent // (prod(threads) * kernel.per_thread)),),
        threads=threads,
        flat=tuple(one for _, one in args if one is not None and kernel.flat and shapes[one] == over),
        per_member=(),
        host=False,
        dtype="float32",
    )
