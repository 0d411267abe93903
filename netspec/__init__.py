"""netspec: networks split over two devices, written down as a YAML spec and run from Python kernels.

    spec = netspec.load("alexnet", ["train.batch=64"])      # a path, or the name of a shipped spec
    plan = netspec.plan(spec, "predict", batch=1)           # shapes, steps, FLOPs, transfers: no device needed
    result = netspec.run("quickstart", epochs=2)            # trains; listener= gets the events of netspec.events
    netspec.evaluate(result.folder)
    netspec.predict(result.folder, ["photo.jpg"])

The command line is made of the same functions. Each is imported when it is first used, so ``import netspec`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from netspec import _paths
from netspec._version import __version__ as __version__

if TYPE_CHECKING:
    from netspec.api import evaluate, plan, predict, run, sweep
    from netspec.errors import NetspecError, SpecError
    from netspec.spec import load

__all__ = ["NetspecError", "SpecError", "evaluate", "load", "plan", "predict", "run", "sweep"]

_HOMES = {
    "NetspecError": "netspec.errors",
    "SpecError": "netspec.errors",
    "evaluate": "netspec.api",
    "load": "netspec.spec",
    "plan": "netspec.api",
    "predict": "netspec.api",
    "run": "netspec.api",
    "sweep": "netspec.api",
}

_paths.install()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'netspec' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
