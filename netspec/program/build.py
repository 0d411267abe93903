"""Plan -> Program."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from netspec.contract.kernel import Backend
from netspec.planning.order import precedence
from netspec.planning.plan import Plan, Region, Step
from netspec.planning.race import check_races
from netspec.program.arena import lay_out, locator
from netspec.program.choice import Capability, Measured
from netspec.program.fuse import fuse
from netspec.program.prepack import hoist
from netspec.program.program import Program
from netspec.program.steps import Lowering


def lower(
    plan: Plan,
    kinds: Mapping[str, Backend],
    team_sizes: Mapping[str, int],
    seed: int = 0,
    without: Mapping[Backend, Collection[str]] | None = None,
    measured: Mapping[str, Measured] | None = None,
    fused: bool = True,
    capabilities: Mapping[str, Capability | None] | None = None,
) -> Program:
    """Choose kernels, add workspace, fuse elementwise layers, lay out memory; race-checked again with memory in place.

    Passes that make something of stored tensors alone are marked to run once.

    ``without`` names variants of kernels that are not to be chosen, ``measured`` gives for each device what was found
    best there, ``capabilities`` what its GPU is; ``fused`` False leaves each layer a step of its own. Raises
    NetspecError where a layer has no kernel for its device's kind.
    """
    lowering = Lowering(plan, kinds, team_sizes, seed, without, measured, capabilities)
    steps = [lowering.lower(step) for step in plan.steps]
    types = {shard.layer: shard.type for shard in plan.shards}
    kept = plan.probs if plan.phase == "predict" else None
    if fused:
        steps = fuse(steps, lowering.buffers, types, kinds, kept)
    used = {region.buffer for step in steps for region in step.args.values()}
    steps, buffers = hoist(steps, {name: buffer for name, buffer in lowering.buffers.items() if name in used})
    layout = lay_out(steps, buffers, types, kept)
    places = locator(buffers, layout.offsets)

    def locate(region: Region) -> tuple[str, int, int]:
        return places[region.buffer]

    check_races(layout.steps, locate)
    return Program(
        plan=plan,
        kinds=dict(kinds),
        team_sizes=dict(team_sizes),
        buffers=buffers,
        steps=_prune(layout.steps),
        offsets=layout.offsets,
        arenas=layout.arenas,
        inplace=layout.inplace,
    )


def _prune(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Waits that queues and other waits imply are left out: each one kept costs an event."""
    before = precedence(steps)
    position = {step.name: number for number, step in enumerate(steps)}
    last: dict[tuple[str, str], int] = {}
    pruned = []
    for number, step in enumerate(steps):
        queue = (step.device, step.queue)
        implied = before[last[queue]] | 1 << last[queue] if queue in last else 0
        kept = []
        for wait in sorted((position[name] for name in step.after), reverse=True):
            if not implied >> wait & 1:
                kept.append(wait)
                implied |= before[wait] | 1 << wait
        pruned.append(replace(step, after=tuple(steps[n].name for n in reversed(kept))))
        last[queue] = number
    return tuple(pruned)
