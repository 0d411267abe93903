"""The Plan: the Spec resolved against its layers, for a phase and a batch, as immutable data.

The package can be called: ``netspec.plan(spec, phase="train", batch=None)`` gives the Plan of a Spec, a path or the
name of a shipped spec, and raises SpecError with every problem that shapes, placement and connections show.
"""

from pathlib import Path

from netspec._callable import make_callable
from netspec.contract.kernel import Phase
from netspec.plan.build import build, check
from netspec.plan.model import Buffer, Crossing, Edge, Logical, Pass, Plan, Region, ShardInfo, Step
from netspec.plan.race import RaceError, check_races
from netspec.plan.serial import from_plain, to_plain
from netspec.spec.loading import load
from netspec.spec.model import Spec

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



def _plan(spec: Spec | str | Path, phase: Phase = "train", batch: int | None = None) -> Plan:
    """Resolve a spec (a Spec, a path, or the name of a shipped one) for a phase and a batch; see ``build``."""
    return build(spec if isinstance(spec, Spec) else load(spec), phase, batch)


make_callable(__name__, _plan)  # netspec.plan(spec)
