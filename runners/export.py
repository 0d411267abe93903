"""Trained networks as files of other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from netspec._types import Binding
from netspec._version import __version__
from netspec.data.geometry import Geometry, geometry_for
from netspec.errors import NetspecError, printable
from netspec.evaluation.table_files import check_file
from netspec.events import Listener
from netspec.exchange import tensor_file
from netspec.exchange.merging import evaluated
from netspec.exchange.torch_code import identifier
from netspec.exchange.torch_module import TorchForm
from netspec.machine.atomic_files import write_text, write_whole
from netspec.planning.trainable import roles
from netspec.rundir.run_files import read_text
from netspec.runners.trained import Trained, nobody, open_trained
from netspec.units import many

ENDINGS = {"onnx": ".onnx", "torch": ".safetensors"}
"""The ending of a file by its format."""


class Exported(NamedTuple):
    """What was written, and from which checkpoint: its nodes, or the steps of ``module``, which builds the network."""

    file: Path
    checkpoint: Path
    nodes: int
    bytes: int
    module: Path | None = None


def export_network(
    run: Path, out: Path, plugins: tuple[str, ...], listener: Listener | None, format: str | None = None
) -> Exported:
    """See ``netspec.export``."""
    if format is not None and format not in ENDINGS:
        raise NetspecError(f"there is no format '{printable(format)}'; there are {' and '.join(ENDINGS)}")
    check_file(out, tuple(ENDINGS.values()) if format is None else (ENDINGS[format],))
    write = {".onnx": _onnx, ".safetensors": _torch}[out.suffix](out)
    trained = open_trained(run, Binding(plugins=plugins), listener or nobody)
    exported: Exported = write(trained, out)
    return exported


def _onnx(out: Path) -> Any:
    try:
        from netspec.exchange.onnx_model import model_of
    except ImportError as error:
        raise NetspecError(f"ONNX needs a package that is missing ({error}): pip install 'netspec[onnx]'") from error

    def write(trained: Trained, out: Path) -> Exported:
        model = model_of(trained.spec, trained.found.tensors, _about(trained))
        return Exported(out, trained.file, len(model.graph.node), write_whole(out, [model.SerializeToString()]))

    return write


def _torch(out: Path) -> Any:
    """The writer, once the module's place is known to be free, or to have a module of ours."""
    module = _module(out)
    check_file(module, (".py",))
    if module.exists() and _OURS not in read_text(module).partition("\n")[0]:
        raise NetspecError(f"{printable(module)}: is there already, and not written by export; choose another name")
    return _write_torch


_OURS = " of netspec "
"""In the first line of the modules that are written here."""


def _module(out: Path) -> Path:
    return out.with_name(f"{identifier(out.stem)}.py")


def _write_torch(trained: Trained, out: Path) -> Exported:
    """A state dict, and beside it the module."""
    form, arrays = TorchForm(trained.spec), trained.found.tensors
    module = _module(out)
    there = {name: one.there(evaluated(trained.spec, arrays, one.source)) for name, one in form.tensors.items()}
    about = {key: json.dumps(value, ensure_ascii=False) for key, value in _about(trained).items()}
    count = write_whole(out, tensor_file.pieces({"format": "pt", **about}, there))
    title = f"{trained.spec.name} after {many(trained.record.iteration, 'iteration')} of netspec {__version__}."
    write_text(module, form.source(title, out.name, list(_images(trained))))
    return Exported(out, trained.file, len(form.lines) + 1, count, module)


def _images(trained: Trained) -> Iterator[str]:
    """How images become inputs, in lines."""
    for name, how in _about(trained)["images"].items():
        height, width = how["crop"]
        more = "" if height == width else " or more, so that it covers what is cut"
        resized = f"short side resized to {how['resize']} pixels{more}, then the central {height} x {width}"
        yield f"{name}: {resized} of {how['channels']} images, levels from 0 to 255."
    yield "Names of classes are in the metadata of the weights, as JSON."


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
    resize = max(geometry.resize, min(crop))  # a picture is never cut from less than covers the crop
    return {"resize": resize, "crop": crop, "channels": "RGB" if geometry.channels == 3 else "grey"}
