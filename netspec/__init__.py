"""netspec: neural networks split over devices, written down as a YAML spec and run from Python kernels.

    spec = netspec.load("alexnet", ["train.batch=64"])      # a path, or the name of a shipped spec
    plan = netspec.plan(spec, "predict", batch=1)           # shapes, steps, FLOPs, transfers: no device needed
    result = netspec.run("quickstart", epochs=2)            # trains; listener= gets the events of netspec.events
    netspec.evaluate(result.folder)
    netspec.predict(result.folder, ["photo.jpg"])
    netspec.export(result.folder, "net.onnx")               # for other programs
    netspec.import_network("net.pth", "net.safetensors", spec="my.yaml")
    features = netspec.features(result.folder)              # of the last hidden layer, an image a row
    netspec.nearest(features.values, features.values[:1], 6)

The command line is made of the same functions. Each is imported when it is first used, so ``import netspec`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from netspec import _paths
from netspec._version import __version__ as __version__

if TYPE_CHECKING:
    from netspec.api import evaluate, export, features, import_network, lr_find, plan, predict, run, sweep
    from netspec.errors import NetspecError, SpecError
    from netspec.evaluation.neighbours import nearest
    from netspec.spec import load

__all__ = [
    "NetspecError",
    "SpecError",
    "evaluate",
    "export",
    "features",
    "import_network",
    "load",
    "lr_find",
    "nearest",
    "plan",
    "predict",
    "run",
    "sweep",
]

_HOMES = {
    "NetspecError": "netspec.errors",
    "SpecError": "netspec.errors",
    "evaluate": "netspec.api",
    "export": "netspec.api",
    "features": "netspec.api",
    "import_network": "netspec.api",
    "load": "netspec.spec",
    "lr_find": "netspec.api",
    "nearest": "netspec.evaluation.neighbours",
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
