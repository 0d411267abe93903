"""Looking into an iteration that was not finite: its steps once more, one by one, up to the first bad number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from netspec.contract.kernel import Phase
from netspec.planning.identities import STORED, BufferKey
from netspec.planning.plan import Region, Step
from netspec.planning.rates import Rates
from netspec.program.fuse import split
from netspec.runners.execution.bound import BoundProgram, BoundStep, Host
from netspec.runners.execution.replicas import assigned
from netspec.runners.execution.session import NO_RATES, Session
from netspec.runners.transport.base import Transport, named


def explain(
    session: Session,
    arrays: Mapping[str, Host],
    iteration: int,
    valid: int,
    rates: Rates = NO_RATES,
    phase: Phase = "train",
) -> str:
    """Say which layer and direction first gave a number that is not finite, in a clause; empty where none is found.

    The iteration has changed nothing, so running its steps again gives the same numbers.
    """
    bound, group = session.bound(phase), session.crew.within
    stored = [Region(key) for key in bound.program.buffers if key.role in STORED]
    before = _first_bad(bound, stored)
    told = f"'{before}' was not finite before" + (" the step" if phase == "train" else "") if before else ""
    if told := _earliest(group, (0, told) if told else None):
        return told
    places, found = {step.key: place for place, step in enumerate(session.wholes[phase].steps)}, None
    numbers = session.rates(rates, phase)
    plan = bound.program.plan
    met = max((place for key, place in places.items() if key.op == "all_reduce"), default=len(places))
    own = [one for one in bound.steps if places[one.step.key] < met and one.step.op != "all_reduce"]
    for replica in assigned(plan, session.crew.group).cut(arrays, session.counted(valid, phase)):
        replica.enter(bound)
        share = [replica.share] if plan.replicas > 1 else []
        bound.fill(replica.arrays, (iteration, replica.valid), [*numbers, *share])
        for step in _replayed(bound, own):
            bad = None if found else _first_bad(bound, [step.args[argument] for argument in step.writes])
            if bad is not None:
                found = places[step.key], _told(step, bad)
            if found and group.size == 1:
                return found[1]
    return _earliest(group, found)


def _replayed(bound: BoundProgram, own: Sequence[BoundStep]) -> Iterator[Step]:
    """Run those steps of the present turn one by one that need no other groups; gives each that has been run."""
    for one in own:
        for step in split(one.step) if bound.is_due(one.step) else ():  # fused layers one by one: each could be it
            (bound.call(step) if one.step.fused else one.call)()
            bound.devices[step.device].synchronise()
            yield step


def _earliest(group: Transport, own: tuple[int, str] | None) -> str:
    """What was found first, by place in the plan, of all that work a replica together: they go through it together."""
    found = [(*one, rank) for rank, one in enumerate(group.gather(own)) if one is not None]
    if not found or group.size == 1:
        return found[0][1] if found else ""
    _, told, rank = min(found)
    return f"on {named(group, rank)} {told}"


def _first_bad(bound: BoundProgram, regions: list[Region]) -> BufferKey | None:
    """The buffer of the first region that holds a number that is not finite.

    Workspace does not count: a kernel need not write all of it. Nor does the rest of a buffer, which another step
    writes: what lies there may be left from whatever had that memory before.
    """
    for region in regions:
        buffer = bound.program.buffers[region.buffer]
        if "float" in buffer.dtype and buffer.role != "workspace":
            part = () if region.axis is None else (*(slice(None),) * region.axis, slice(region.start, region.stop))
            if not np.isfinite(bound.download(buffer.key)[part]).all():
                return buffer.key
    return None


def _told(step: Step, buffer: BufferKey) -> str:
    if step.layer is not None and step.op in ("forward", "backward"):
        return f"the first numbers that are not finite come from the {step.op} pass of '{step.layer}' on {step.device}"
    if buffer.role in ("gradient", "parameter gradient"):
        where = f"in the sum of gradients of '{buffer.of.layer}' on {step.device}"
        return f"the first numbers that are not finite come from the backward pass, {where}"
    return f"the first numbers that are not finite come from the step '{step.name}' ({buffer})"
