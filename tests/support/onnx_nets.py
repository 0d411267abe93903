"""ONNX models as networks here, and what these answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netspec.exchange.formats import Asked
from netspec.runners.execution.session import Session
from netspec.runners.importing import Imported, import_network
from netspec.runners.training import checkpoint
from netspec.spec import from_canonical


def imported(model: Any, folder: Path, asked: Asked | None = None) -> Imported:
    """A model as a checkpoint in the folder, in the place of another."""
    (folder / "net.yaml").unlink(missing_ok=True)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return import_network(folder / "net.onnx", folder / "net.safetensors", asked or Asked())


def answered(
    file: Path, feeds: Sequence[np.ndarray[Any, Any]], volumes: bool = False
) -> np.ndarray[Any, Any]:
    """The answer of a checkpoint to a value for each of its inputs, channels first, of any numbers, example by example.

    Images are bytes less a mean: images of zeros less the negative of what is wanted are any image. ``volumes``: feeds
    of five axes are volumes, channels first, not sequences of images.
    """
    found = checkpoint.read(file)
    spec = from_canonical(found.record.spec)
    names = [name for name, one in spec.inputs.items() if one.dtype == "float32"][: len(feeds)]
    answers = []
    with Session(spec, [f"cpu:{i}" for i in range(len(spec.devices))], phases=("predict",), eval_batch=1) as session:
        tensors = {name: array for name, array in found.tensors.items() if name in session.store.shapes()}
        for i in range(len(feeds[0])):
            given = {}
            for name, feed in zip(names, feeds, strict=True):
                one = channels_last(feed[i : i + 1] if feed.ndim > 1 else feed[i : i + 1, None])
                if volumes and feed.ndim == 5:
                    one = np.ascontiguousarray(np.moveaxis(feed[i : i + 1], 1, -1))
                if f"{name}.mean" in found.tensors:
                    one = one.swapaxes(1, 2)[:, None] if one.ndim == 3 else one  # a signal is an image of height 1
                    tensors[f"{name}.mean"] = found.tensors[f"{name}.mean"] - one[0]
                    one = np.zeros(one.shape, np.uint8)
                given[name] = one
            session.store.load(tensors)
            answers.append(session.predict(given, 1).copy())
    return channels_first(np.concatenate(answers))


def channels_last(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(np.moveaxis(array, -3, -1) if array.ndim in (4, 5) else array)


def channels_first(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.moveaxis(array, -1, -3) if array.ndim in (4, 5) else array
