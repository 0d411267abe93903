"""Checkpoints: one safetensors file that evaluates, predicts and trains on, alone and on any binding.

Logical tensors (parameters, momentum, state, the mean image) lie under their names; ``__metadata__`` holds the record
of the run as JSON and a CRC-32 of each tensor and of the record, since safetensors itself has no checksums, and a seal
over both, so that a record never goes with another's tensors. Reading goes through the safetensors library and runs no
code. Writing is done here: piece by piece from the arrays, without a second copy, without holding the interpreter,
synced before the file gets its name.
"""

from __future__ import annotations

import contextlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from netspec.errors import NetspecError
from netspec.machine.atomic_files import write_whole
from netspec.registry import Plugin

FORMAT = 1
SUFFIX = ".safetensors"
_DTYPES = {f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("float", "int", "uint") for bits in (8, 16, 32, 64)}

Tensors = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The latest evaluation: the iteration it was made at, mean loss, and errors in [0, 1] by name."""

    iteration: int
    loss: float
    errors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Record:
    """Where a run stands, beside its tensors.

    ``iteration`` and ``epoch`` are finished ones; ``position`` counts the batches of the epoch in progress that are
    done. ``spec`` is the canonical spec, ``given`` that of the file alone, without what the command line changed;
    ``data`` tells the images apart (see resume.py). ``validation_errors`` holds one top-1 error an epoch, for the
    schedule. ``tuned`` maps steps to the kernels that measurements chose for them, see netspec.program.choice;
    ``environment`` has what chose machine code beside them, see netspec.machine.environment. ``plugins`` has the code
    of layers that are not built in.
    """

    iteration: int
    epoch: int
    position: int
    seed: int
    batch: int
    classes: tuple[str, ...]
    spec: Mapping[str, Any]
    given: Mapping[str, Any]
    data: Mapping[str, Any]
    validation_errors: tuple[float, ...] = ()
    evaluated: Evaluated | None = None
    netspec: str = ""
    format: int = FORMAT
    tuned: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether the latest evaluation was of these very parameters."""
        return self.evaluated is not None and self.evaluated.iteration == self.iteration

    @property
    def score(self) -> float:
        """What the best checkpoint has least of: top-1 error, else the loss; infinite when there is no such number."""
        if self.evaluated is None or not self.measured:
            return float("inf")
        score = self.evaluated.errors.get("top1", self.evaluated.loss)
        return score if math.isfinite(score) and math.isfinite(self.evaluated.loss) else float("inf")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A record and its tensors, read from ``path`` or about to be written."""

    record: Record
    tensors: Tensors
    path: Path | None = field(default=None, compare=False)


class Damaged(NetspecError):
    """A checkpoint file that is not whole, not one at all, or of no use since its tensors are not finite."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: {reason}")


def write(path: Path, checkpoint: Checkpoint) -> int:
    """Write the file, whole or not at all; returns its bytes. Raises NetspecError when the disk will not take it."""
    tensors = {name: np.asarray(array, order="C") for name, array in sorted(checkpoint.tensors.items())}
    return write_whole(path, _pieces(checkpoint.record, tensors))


def _pieces(record: Record, tensors: Tensors) -> Iterator[bytes | memoryview]:
    text = record_text(record)
    sums = {name: _checksum(name, array) for name, array in tensors.items()}
    listed = json.dumps({"": zlib.crc32(text.encode()), **sums})
    metadata = {"netspec": text, "crc32": listed, "seal": _seal(text, listed)}
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, array in tensors.items():
        kind = {"dtype": _DTYPES[array.dtype.name], "shape": array.shape}
        header[name] = {**kind, "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the format wants tensors aligned
    yield len(encoded).to_bytes(8, "little") + encoded
    yield from map(_raw, tensors.values())


def _raw(array: np.ndarray[Any, Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _checksum(name: str, array: np.ndarray[Any, Any]) -> int:
    return zlib.crc32(_raw(np.asarray(array, order="C")), zlib.crc32(f"{name} {array.dtype} {array.shape}".encode()))


def _seal(text: str, listed: str) -> str:
    return str(zlib.crc32(f"{text}{listed}".encode()))


def read(path: Path) -> Checkpoint:
    """Read and verify the whole file: its checksums, and that all numbers are finite.

    Raises Damaged with the reason, or NetspecError when there is no such file.
    """
    with _opened(path) as file:
        record, sums = _record(path, file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    wrong = [name for name in tensors if _checksum(name, tensors[name]) != sums.get(name)]
    missing = sums.keys() - tensors.keys()
    if wrong or missing:
        names = ", ".join(sorted({*wrong, *missing})[:3])
        raise Damaged(path, f"damaged: the content of {names} is not what was written")
    if spoilt := [name for name, array in tensors.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]:
        raise Damaged(path, f"not finite: {', '.join(spoilt[:3])} of it holds NaN or infinities; take an earlier one")
    return Checkpoint(record, tensors, path)


def read_record(path: Path) -> Record:
    """Read the record only, which is quick. Raises as ``read`` does; tensors are not verified."""
    with _opened(path) as file:
        return _record(path, file)[0]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as safetensors opens it; anything wrong with it becomes Damaged."""
    if not path.exists():
        raise NetspecError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, "np") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise Damaged(path, f"damaged or not a checkpoint ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _record(path: Path, file: Any) -> tuple[Record, dict[str, int]]:
    metadata = file.metadata() or {}
    if "netspec" not in metadata or "crc32" not in metadata:
        raise Damaged(path, "not a netspec checkpoint: it has tensors but no record of a run")
    text: str = metadata["netspec"]
    try:
        sums = dict(json.loads(metadata["crc32"]))
        whole = metadata.get("seal") in (None, _seal(text, metadata["crc32"]))  # older files have none
        if zlib.crc32(text.encode()) != sums.pop("", None) or not whole:
            raise Damaged(path, "damaged: its record is not what was written")
        return _decode(path, json.loads(text)), sums
    except _UNREADABLE as error:
        raise Damaged(path, f"damaged: its record cannot be read ({_first_line(error)})") from error


_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What JSON of another make leads to; the last where it is nested a thousand deep."""


def record_text(record: Record) -> str:
    """The record as JSON."""
    return json.dumps(asdict(record), sort_keys=True)


def record_from(path: Path) -> Record:
    """The record of a JSON file. Raises NetspecError where there is none."""
    try:
        return _decode(path, json.loads(path.read_text()))
    except (OSError, *_UNREADABLE) as error:
        raise NetspecError(f"{path}: cannot be read ({_first_line(error)})") from error


def _decode(path: Path, values: dict[str, Any]) -> Record:
    if values["format"] != FORMAT:
        raise NetspecError(
            f"{path}: written in checkpoint format {values['format']} by netspec {values.get('netspec')}; "
            f"this version reads format {FORMAT}"
        )
    evaluated = values.pop("evaluated")
    values["evaluated"] = Evaluated(**evaluated) if evaluated else None
    for name in ("classes", "validation_errors"):
        values[name] = tuple(values[name])
    values["plugins"] = tuple(_plugin(**each) for each in values.get("plugins", ()))
    record = Record(**values)
    _check_kinds(record)
    return record


def _plugin(types: list[str], **values: Any) -> Plugin:
    plugin = Plugin(types=tuple(types), **values)
    texts = (plugin.file, plugin.module, plugin.package, *plugin.types, *plugin.digests, *plugin.digests.values())
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a plugin is not described by texts")
    return plugin


def _check_kinds(record: Record) -> None:
    """Raise TypeError where a value is not of its kind: an edited record must not fail far from here."""
    numbers = [record.iteration, record.epoch, record.position, record.seed, record.batch]
    errors = list(record.validation_errors)
    if record.evaluated is not None:
        numbers.append(record.evaluated.iteration)
        errors += [record.evaluated.loss, *record.evaluated.errors.values()]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise TypeError("a count is not a whole number")
    if not all(type(error) in (int, float) for error in errors):
        raise TypeError("an error is not a number")
    if not all(isinstance(name, str) for name in (*record.classes, record.netspec)):
        raise TypeError("a name is not a text")
    if not all(isinstance(part, dict) for part in (record.spec, record.given, record.data)):
        raise TypeError("a spec is not a map")
    for choices in (record.tuned, record.environment):
        if not isinstance(choices, dict) or not all(isinstance(value, str) for value in choices.values()):
            raise TypeError("what chose the kernels is not a map of texts")
