"""netspec: neural networks split over devices, written down as a YAML spec and run from Python kernels.

    spec = netspec.load("alexnet", ["train.batch=64"])      # a path, or the name of a shipped spec
    plan = netspec.plan(spec, "predict", batch=1)           # shapes, steps, FLOPs, transfers: no device needed
    run = netspec.run("quickstart", epochs=2)               # trains; listener= gets the events of netspec.events
    run.history.validation["top1"]                          # NumPy arrays by column
    netspec.evaluate(run)
    netspec.predict(run, ["photo.jpg"])
    run.model(images)                                       # uint8 (N, H, W, C) to probabilities (N, classes)
    netspec.export(run, "net.onnx")                         # for other programs
    netspec.import_network("net.pth", "net.safetensors", spec="my.yaml")
    features = netspec.features(run)                        # of the last hidden layer, an image a row
    netspec.nearest(features.values, features.values[:1], 6)

    netspec.layer("lrn")(x).gradients(y=dy)                 # a layer alone

A run of another day: ``run = netspec.open_run("runs/quickstart")``. The command line is made of the same functions.
Each is imported when it is first used, so ``import netspec`` is cheap. In a notebook specs, plans, runs, predictions
and evaluations show themselves as pictures and tables.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from netspec import _paths
from netspec._version import __version__ as __version__

if TYPE_CHECKING:
    from netspec._interchange import export, import_network
    from netspec._layer import LayerResult, LoneLayer, layer
    from netspec._run import Run, open_run, trust
    from netspec._types import Prediction, Trial, Tuned
    from netspec.api import (
        evaluate,
        features,
        load,
        lr_find,
        plan,
        predict,
        predictor,
        run,
        sweep,
        tune,
    )
    from netspec.errors import NetspecError, SpecError
    from netspec.evaluation.evaluation_result import Evaluation
    from netspec.evaluation.feature_set import Features
    from netspec.evaluation.neighbours import Neighbours, nearest
    from netspec.planning.plan import Plan
    from netspec.report.rate_range import RateRange
    from netspec.rundir.history import History
    from netspec.runners.export import Exported
    from netspec.runners.importing import Imported
    from netspec.runners.inference import Predictor
    from netspec.spec.types import Spec

__all__ = [
    "Evaluation",
    "Exported",
    "Features",
    "History",
    "Imported",
    "LayerResult",
    "LoneLayer",
    "Neighbours",
    "NetspecError",
    "Plan",
    "Prediction",
    "Predictor",
    "RateRange",
    "Run",
    "Spec",
    "SpecError",
    "Trial",
    "Tuned",
    "evaluate",
    "export",
    "features",
    "import_network",
    "layer",
    "load",
    "lr_find",
    "nearest",
    "open_run",
    "plan",
    "predict",
    "predictor",
    "run",
    "sweep",
    "trust",
    "tune",
]

_HOMES = {
    "netspec._interchange": ("export", "import_network"),
    "netspec._layer": ("LayerResult", "LoneLayer", "layer"),
    "netspec._run": ("Run", "open_run", "trust"),
    "netspec._types": ("Prediction", "Trial", "Tuned"),
    "netspec.errors": ("NetspecError", "SpecError"),
    "netspec.evaluation.evaluation_result": ("Evaluation",),
    "netspec.evaluation.feature_set": ("Features",),
    "netspec.evaluation.neighbours": ("Neighbours", "nearest"),
    "netspec.planning.plan": ("Plan",),
    "netspec.report.rate_range": ("RateRange",),
    "netspec.rundir.history": ("History",),
    "netspec.runners.export": ("Exported",),
    "netspec.runners.importing": ("Imported",),
    "netspec.runners.inference": ("Predictor",),
    "netspec.spec.types": ("Spec",),
}
"""Where public names are defined; all others in netspec.api."""

_paths.install()


if not TYPE_CHECKING:  # to a type checker a name that is not there is an error

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'netspec' has no attribute '{name}'")
        home = next((module for module, names in _HOMES.items() if name in names), "netspec.api")
        return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
