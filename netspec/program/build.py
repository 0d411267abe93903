"""Plan -> Program."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from netspec.contract.kernel import Backend
from netspec.contract.variant import Capability
from netspec.planning.identities import BufferKey
from netspec.planning.plan import Plan
from netspec.planning.race import check_races
from netspec.program.arena import lay_out, places
from netspec.program.choice import Measured
from netspec.program.fuse import fuse
from netspec.program.multi_tensor_steps import merge
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
    apart: Collection[BufferKey] = (),
) -> Program:
    """Choose kernels, add workspace, fuse elementwise layers, merge checks and updates, lay out memory.

    Race-checked again with memory in place. Passes that make something of stored tensors alone are marked to run once.

    ``without`` names variants of kernels that are not to be chosen, ``measured`` gives for each device what was found
    best there, ``capabilities`` what its GPU is; ``fused`` False leaves each step what it is; buffers ``apart`` lie in
    memory of their own. Raises NetspecError where a layer has no kernel for its device's kind.
    """
    lowering = Lowering(plan, kinds, team_sizes, seed, without, measured, capabilities)
    steps = [lowering.lower(step) for step in plan.steps]
    layers = {place: shard.instance for place, shard in plan.by_place().items()}
    kept = plan.answer if plan.phase != "train" else None
    if fused:
        steps = fuse(steps, lowering.buffers, layers, kinds, kept)
        steps = merge(steps, lowering.buffers, kinds)
    used = {region.buffer for step in steps for region in step.args.values()}
    steps, buffers = hoist(steps, {key: buffer for key, buffer in lowering.buffers.items() if key in used})
    layout = lay_out(steps, {key: one for key, one in buffers.items() if key not in apart}, layers, kept)
    check_races(layout.steps, places(buffers, layout.offsets))
    return Program(
        plan=plan,
        kinds=dict(kinds),
        team_sizes=dict(team_sizes),
        buffers=buffers,
        steps=layout.steps,
        offsets=layout.offsets,
        arenas=layout.arenas,
        inplace=layout.inplace,
    )

