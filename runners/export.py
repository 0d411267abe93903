"""Trained networks as files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from netspec._types import Binding
from netspec.data.decode import Geometry, geometry_for
from netspec.errors import NetspecError
from netspec.evaluation.table_files import check_file
from netspec.events import Listener
from netspec.machine.atomic_files import write_whole
from netspec.planning.trainable import roles
from netspec.runners.trained import Trained, nobody, open_trained

ENDINGS = (".onnx",)


class Exported(NamedTuple):
    """What was written, and from which checkpoint."""

    file: Path
    checkpoint: Path
    nodes: int
    bytes: int


def export_network(run: Path, out: Path, plugins: tuple[str, ...], listener: Listener | None) -> Exported:
    """See ``netspec.api.export``."""
    check_file(out, ENDINGS)
    model_of = _onnx()
    trained = open_trained(run, Binding(plugins=plugins), listener or nobody)
    model = model_of(trained.spec, trained.found.tensors, _about(trained))
    return Exported(out, trained.file, len(model.graph.node), write_whole(out, [model.SerializeToString()]))


def _onnx() -> Any:
    try:
        from netspec.exchange.onnx_model import model_of
    except ImportError as error:
        raise NetspecError(f"ONNX needs a package that is missing ({error}): pip install 'netspec[onnx]'") from error
    return model_of


def _about(trained: Trained) -> dict[str, Any]:
    """What a user of the file has to know beside the graph."""
    spec, record = trained.spec, trained.record
    about: dict[str, Any] = {"classes": list(record.classes), "iteration": record.iteration}
    if record.words:
        about["words"] = [record.words.get(name, "") for name in record.classes]
    images = {name: _image(geometry_for(spec.data, spec.inputs[name].shape)) for name in roles(spec).images}
    return {**about, "images": images}


def _image(geometry: Geometry) -> dict[str, Any]:
    """How an image becomes the network's input."""
    crop = [geometry.height, geometry.width]
    return {"resize": geometry.resize, "crop": crop, "channels": "RGB" if geometry.channels == 3 else "grey"}
