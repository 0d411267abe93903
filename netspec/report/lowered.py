"""A plan lowered for kinds of device that need not be there: ``info`` and ``plan`` open none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from netspec.errors import NetspecError

if TYPE_CHECKING:
    from netspec.contract.kernel import Backend
    from netspec.planning import Plan
    from netspec.program import Program
    from netspec.spec.types import Spec

_NAME = re.compile(r"(cpu|cuda):\d{1,3}")


def lowered(plan: Plan, spec: Spec, devices: str | None) -> Program:
    """The spec's plan for the devices named, as ``run --devices`` takes them; for CPUs where none are."""
    from netspec.device.binding import capabilities, models, team_size
    from netspec.program import lower, tuning_table

    names = _names(devices or "cpu", plan.devices)
    kinds = {device: cast("Backend", name.partition(":")[0]) for device, name in zip(plan.devices, names, strict=True)}
    teams = {device: team_size(name, names) for device, name in zip(plan.devices, names, strict=True)}
    bound = dict(zip(plan.devices, names, strict=True))
    return lower(
        plan,
        kinds,
        teams,
        without=spec.train.without,
        measured=tuning_table.measured(models(bound)),
        fused=spec.train.fuse,
        capabilities=capabilities(bound),
    )


def _names(request: str, devices: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in request.split(",")]
    if names in (["cpu"], ["cuda"]):
        return [f"{names[0]}:{index}" for index in range(len(devices))]
    for name in names:
        if not _NAME.fullmatch(name):
            raise NetspecError(f"unknown device '{name}': write cpu, cuda, or a name for each, as in cpu:0,cpu:1")
    if len(names) != len(devices):
        spec = f"the spec has {len(devices)} ({', '.join(devices)})"
        raise NetspecError(f"--devices names {len(names)} ({request}), {spec}")
    return names
