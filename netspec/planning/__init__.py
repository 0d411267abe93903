"""The Plan: the Spec resolved against its layers, for a phase and a batch, as immutable data."""

from netspec.planning.build import build
from netspec.planning.identities import BufferKey, StepKey, TensorKey
from netspec.planning.json_form import from_plain, to_plain
from netspec.planning.plan import Buffer, Crossing, Edge, Logical, Pass, Plan, Region, ShardInfo, Step, make_once
from netspec.planning.race import RaceError, check_races
from netspec.planning.trainable import check

__all__ = [
    "Buffer",
    "BufferKey",
    "Crossing",
    "Edge",
    "Logical",
    "Pass",
    "Plan",
    "RaceError",
    "Region",
    "ShardInfo",
    "Step",
    "StepKey",
    "TensorKey",
    "build",
    "check",
    "check_races",
    "from_plain",
    "make_once",
    "to_plain",
]

