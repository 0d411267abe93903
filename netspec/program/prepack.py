"""Passes that read only what is stored (packing filters, rounding them) run once, and again when that has changed.

A program that renews what is stored itself, as training does, has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from netspec.contract.naming import Argument
from netspec.planning.identities import STORED, BufferKey
from netspec.planning.plan import Buffer, Step


def hoist(
    steps: Sequence[Step], buffers: Mapping[BufferKey, Buffer]
) -> tuple[list[Step], dict[BufferKey, Buffer]]:
    """Mark such passes as ``once``; what they make, but for shadows, is then ``derived`` and has memory of its own.

    A shadow is stored as far as other passes go: the step that makes it comes before them.
    """
    if any(writes and region.buffer.role in STORED for step in steps for region, writes in step.accesses):
        return list(steps), dict(buffers)
    hoisted: list[Step] = []
    renamed: dict[BufferKey, BufferKey] = {}
    for step in steps:
        numbers, made = _once(step)
        passes = tuple(replace(one, once=True) if n in numbers else one for n, one in enumerate(step.passes))
        args = dict(step.args)
        for one in made:
            old = args[one].buffer
            if old.role == "workspace":
                renamed[old] = replace(old, role="derived")
                args[one] = replace(args[one], buffer=renamed[old])
        hoisted.append(replace(step, passes=passes, args=args, writes=tuple(w for w in step.writes if w not in made)))
    found = {renamed.get(key, key): buffer for key, buffer in buffers.items()}
    return hoisted, {key: buffer if buffer.key == key else replace(buffer, key=key) for key, buffer in found.items()}


def _once(step: Step) -> tuple[set[int], set[Argument]]:
    """Positions of the passes that touch only stored tensors and what such passes make of them; and that."""
    roles = {one: region.buffer.role for one, region in step.args.items()}
    stored = {one for one, role in roles.items() if role in (*STORED, "shadow")}
    usable = {one for one, role in roles.items() if role in ("workspace", "shadow")}
    while True:
        numbers: set[int] = set()
        made: set[Argument] = set()
        for number, one in enumerate(step.passes):
            new, scratch = set(one.writes), set(one.per_member)
            touched = {target for _, target in one.args if target is not None} - scratch
            if new and new <= usable - scratch and touched <= stored | made | new and not one.then:
                numbers.add(number)
                made |= new
        spoiled = made & {target for n, one in enumerate(step.passes) if n not in numbers for target in one.writes}
        if not spoiled:
            return numbers, made
        usable -= spoiled
