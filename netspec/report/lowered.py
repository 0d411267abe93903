"""A plan lowered for kinds of device that need not be there: ``info`` and ``plan`` open none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from netspec.errors import NetspecError
from netspec.planning.storage import Capabilities, Storage, storage_of, told

if TYPE_CHECKING:
    from netspec.contract.kernel import Backend
    from netspec.planning import Plan
    from netspec.program import Program
    from netspec.spec.types import Spec

_NAME = re.compile(r"(cpu|cuda):[0-9]{1,3}")
_ABSENT = (9, 0)
"""Compute capability of GPUs that are asked for and are not there."""


def storage_at(spec: Spec, devices: str | None) -> Storage:
    """How activations are stored on the devices named, as ``lowered`` takes them."""
    return storage_of(spec.train.precision, _capabilities(spec, _names(devices, spec)).values())


def told_of(spec: Spec, devices: str | None) -> tuple[str, ...]:
    """What the spec's precision comes to there, see netspec.planning.storage."""
    return told(spec.train.precision, _capabilities(spec, _names(devices, spec)).values())


def by_rank(plan: Plan, spec: Spec, devices: str | None) -> list[Program]:
    """A program for each rank that the names of devices have; one where they have none."""
    from netspec.planning.rank_cut import parts

    return [lowered(part, spec, devices) for part in parts(plan, _ranked(devices, spec)[1])]


def lowered(plan: Plan, spec: Spec, devices: str | None) -> Program:
    """The spec's plan, or a rank's part of it, for the devices named, as ``run --devices`` takes them.

    Where none are it is for CPUs, with bf16 for the GPUs that store it, as a GPU that is not there is then taken to be.
    """
    from netspec.device.binding import models, team_size
    from netspec.program import lower, tuning_table

    names = _names(devices, spec)
    bound = {device: name for device, name in zip(spec.devices, names, strict=True) if device in plan.devices}
    kinds = {device: cast("Backend", name.partition(":")[0]) for device, name in bound.items()}
    teams = {device: team_size(name, [*bound.values()]) for device, name in bound.items()}
    return lower(
        plan,
        kinds,
        teams,
        without=spec.train.without,
        measured=tuning_table.measured(models(bound)),
        fused=spec.train.fuse,
        capabilities=_capabilities(spec, names),
    )


def _capabilities(spec: Spec, names: list[str]) -> Capabilities:
    """By the spec's devices; of a GPU that is not there where bf16 asks for one."""
    from netspec.device.binding import capabilities

    found = capabilities(dict(zip(spec.devices, names, strict=True)), spec.train.precision)
    if spec.train.precision != "bf16":
        return found
    absent = {device for device, name in zip(spec.devices, names, strict=True) if name.startswith("cuda")}
    return {device: one or (_ABSENT if device in absent else None) for device, one in found.items()}


def _names(asked: str | None, spec: Spec) -> list[str]:
    return _ranked(asked, spec)[0]


def _ranked(asked: str | None, spec: Spec) -> tuple[list[str], tuple[int, ...]]:
    """A name for each of the spec's devices, and the ranks that were named with them."""
    from netspec.device.binding import ranked

    request, devices = asked or ("cuda" if spec.train.precision == "bf16" else "cpu"), spec.devices
    names, ranks = ranked([name.strip() for name in request.split(",")])
    if names in (["cpu"], ["cuda"]):
        return [f"{names[0]}:{index}" for index in range(len(devices))], ranks
    for name in names:
        if not _NAME.fullmatch(name):
            raise NetspecError(f"unknown device '{name}': write cpu, cuda, or a name for each, as in cpu:0,cpu:1")
    if len(names) != len(devices):
        has = f"the spec has {len(devices)} ({', '.join(devices)})"
        raise NetspecError(f"--devices names {len(names)} ({request}), {has}")
    return names, ranks
