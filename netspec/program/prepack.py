"""Passes that read only what is stored (packing filters, transforming them) run once, and again when that has changed.

A program that renews what is stored itself, as training does, has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from netspec.planning.plan import STORED, Buffer, Step


def hoist(steps: Sequence[Step], buffers: Mapping[str, Buffer]) -> tuple[list[Step], dict[str, Buffer]]:
    """Mark such passes as ``once``; what they make is then ``derived`` and keeps memory of its own."""
    kinds = {name: buffer.kind for name, buffer in buffers.items()}
    found = dict(buffers)
    if any(writes and kinds[region.buffer] in STORED for step in steps for region, writes in step.accesses):
        return list(steps), found
    hoisted = []
    for step in steps:
        numbers, made = _once(step, {name: kinds[region.buffer] for name, region in step.args.items()})
        passes = tuple(replace(one, once=True) if n in numbers else one for n, one in enumerate(step.passes))
        hoisted.append(replace(step, passes=passes, writes=tuple(name for name in step.writes if name not in made)))
        for buffer in {step.args[name].buffer for name in made}:
            found[buffer] = replace(buffers[buffer], kind="derived")
    return hoisted, found


def _once(step: Step, kinds: Mapping[str, str]) -> tuple[set[int], set[str]]:
    """Positions of the passes that touch only stored tensors and what such passes make of them; the names of that."""
    stored = {name for name, kind in kinds.items() if kind in STORED}
    usable = {name for name, kind in kinds.items() if kind == "workspace"}
    while True:
        numbers: set[int] = set()
        made: set[str] = set()
        for number, one in enumerate(step.passes):
            new, scratch = set(one.writes), set(one.per_member)
            touched = {target for _, target in one.args if target is not None} - scratch
            if new and new <= usable - scratch and touched <= stored | made | new and not one.then:
                numbers.add(number)
                made |= new
        spoiled = made & {name for n, one in enumerate(step.passes) if n not in numbers for name in one.writes}
        if not spoiled:
            return numbers, made
        usable -= spoiled
