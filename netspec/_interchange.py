"""Networks to and from other programs: the functions that the command line and a notebook call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from netspec._types import AnyPath
from netspec.events import Listener

if TYPE_CHECKING:
    from netspec.runners.export import Exported
    from netspec.runners.importing import Imported
    from netspec.spec.types import Spec


def export(
    run_or_checkpoint: AnyPath,
    out: str | Path,
    *,
    format: Literal["onnx", "torch"] | None = None,
    plugins: Sequence[str | Path] = (),
    listener: Listener | None = None,
) -> Exported:
    """Write a trained network to ``out``: as an ONNX model (opset 17), NAME.onnx, or for PyTorch, NAME.safetensors, a
    state dict beside a module NAME.py that builds the network. The ending says which, as ``format`` does.

    The graph takes uint8 images (N, H, W, C) as resized and cropped, of any batch size, and gives what ``predict``
    does: probabilities (N, classes), or numbers; the module takes (N, C, H, W). Raises NetspecError, also where a layer
    has no form in that format, or the package onnx is not installed.
    """
    from netspec.runners.export import export_network

    return export_network(Path(run_or_checkpoint), Path(out), tuple(map(str, plugins)), listener, format)


def import_network(
    file: str | Path,
    out: str | Path,
    *,
    spec: Spec | str | Path | None = None,
    map_file: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    weights: str | Path | None = None,
    mean_image: str | Path | None = None,
    devices: Sequence[str] | None = None,
    output: str | None = None,
    cost: str | None = None,
    classes: str | Path | None = None,
    overrides: str | Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
) -> Imported:
    """Write a checkpoint of a network that another program trained to ``out``, which ends in .safetensors.

    The ending of ``file`` says what it is; ``spec`` is the network where the file has tensors only, ``map_file`` a YAML
    file of names. ``mean`` was subtracted from the network's images, in grey levels from 0 to 255, which were then
    divided by ``std``: a number for each channel, or one for all. ``weights`` and ``mean_image`` are Caffe's
    .caffemodel and .binaryproto. An ONNX model is cut over ``devices`` where such are named; ``output`` names one of
    several outputs, ``cost`` the type of the cost layer behind it, or none. ``classes`` is a file of names, one a line.
    A network that is described in the file is written as a spec beside ``out``. Raises NetspecError.
    """
    from netspec.exchange.formats import Asked
    from netspec.registry import load_plugin
    from netspec.runners.importing import import_network
    from netspec.runners.training.request import load_spec

    for plugin in plugins:
        load_plugin(plugin)
    written = [overrides] if isinstance(overrides, str) else overrides
    network = load_spec(spec, tuple(written)) if spec is not None else None
    means, stds = (None if one is None else tuple(map(float, one)) for one in (mean, std))
    names, blobs, image = (None if one is None else Path(one) for one in (map_file, weights, mean_image))
    over = None if devices is None else tuple(devices)
    asked = Asked(network, names, means, stds, blobs, image, over, output, cost)
    return import_network(Path(file), Path(out), asked, None if classes is None else Path(classes))
