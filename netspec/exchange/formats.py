"""Which module reads a file of another program, by the ending of its name, and what such a module takes and gives.

A reader is a module with ``read(file: Path, asked: Asked) -> Read``; it is imported when a file of its kind is read.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from netspec.errors import NetspecError, NoSuchFile, printable

if TYPE_CHECKING:
    import numpy as np

    from netspec.spec.types import Spec


class Reader(NamedTuple):
    """A module, what it reads, the options of ``Asked`` that it takes, and the extra with the packages it needs."""

    module: str
    kind: str
    takes: tuple[str, ...] = ()
    extra: str = ""


_STATE_DICT = Reader("netspec.exchange.state_dict", "a state dict of PyTorch", ("spec", "map", "mean", "std"))
READERS: Mapping[str, Reader] = {
    ".onnx": Reader(
        "netspec.exchange.onnx_in.network_in_onnx",
        "an ONNX model",
        ("mean", "std", "devices", "output", "cost"),
        "onnx",
    ),
    ".safetensors": _STATE_DICT,
    ".pt": _STATE_DICT,
    ".pth": _STATE_DICT,
    ".prototxt": Reader(
        "netspec.exchange.caffe", "a network of Caffe", ("weights", "mean", "std", "mean_image"), "caffe"
    ),
}
"""Readers by the ending of a file's name."""
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
"""Mean and standard deviation of RGB levels over ILSVRC's images, as torchvision's networks have them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is said beside the file; None: nothing.

    ``spec`` is the network, where the file does not describe it; ``map`` a file of names, see the reader; ``mean`` and
    ``std`` are what the network's images were normalised by, a number for each channel or for all, in grey levels;
    ``weights`` and ``mean_image`` are files that belong to this one; ``devices`` are names of devices over which the
    network is cut; ``output`` names one of several outputs, ``cost`` is the type of the cost layer behind it, or none.
    """

    spec: Spec | None = None
    map: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    weights: Path | None = None
    mean_image: Path | None = None
    devices: tuple[str, ...] | None = None
    output: str | None = None
    cost: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """A network: its spec as YAML (None: the one that was asked for) and its arrays, as checkpoints have them.

    ``arrays`` has parameters and state by name, in netspec's layout, and ``INPUT.mean`` where the file knows it;
    ``taken`` says by name of a tensor here from which of the file it is, ``left`` names those that were not taken;
    ``classes`` are names in the order of the outputs, where the file has them, and ``words`` what people call them, by
    name; ``notes`` are lines for people.
    """

    arrays: Mapping[str, np.ndarray[Any, Any]]
    text: str | None = None
    taken: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)


def read(file: Path, asked: Asked) -> Read:
    """What a file holds. Raises NetspecError where there is no reader for it, or the reader refuses it."""
    reader = reader_of(file)
    for one in fields(asked):
        if getattr(asked, one.name) is not None and one.name not in reader.takes:
            raise NetspecError(f"{printable(file)}: {reader.kind} takes no --{one.name.replace('_', '-')}")
    if not file.is_file():
        raise NoSuchFile(f"{printable(file)}: no such file")
    try:
        module = importlib.import_module(reader.module)
    except ImportError as error:
        remedy = f": pip install 'netspec[{reader.extra}]'" if reader.extra else ""
        raise NetspecError(f"{reader.kind} needs a package that is missing ({error}){remedy}") from error
    found: Read = module.read(file, asked)
    return found


def reader_of(file: Path) -> Reader:
    """The reader for a file. Raises NetspecError."""
    if file.suffix.lower() not in READERS:
        remedy = "; name the .prototxt, and this file by --weights" if file.suffix.lower() == ".caffemodel" else ""
        raise NetspecError(f"{printable(file)}: the name must end in {' or '.join(READERS)}{remedy}")
    return READERS[file.suffix.lower()]
