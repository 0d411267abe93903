"""The Plan: the Spec resolved against its layers, for a phase and a batch, as immutable data."""

from netspec._callable import make_callable
from netspec.plan.build import build, check
from netspec.plan.model import Buffer, Crossing, Edge, Logical, Pass, Plan, Region, ShardInfo, Step
from netspec.plan.race import RaceError, check_races
from netspec.plan.serial import from_plain, to_plain

__all__ = [
    "Buffer",
    "Crossing",
    "Edge",
    "Logical",
    "Pass",
    "Plan",
    "RaceError",
    "Region",
    "ShardInfo",
    "Step",
    "build",
    "check",
    "check_races",
    "from_plain",
    "to_plain",
]

make_callable(__name__, build)  # netspec.plan(spec)
