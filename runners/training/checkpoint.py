"""Checkpoints: one safetensors file that evaluates, predicts and trains on, alone and on any binding.

Logical tensors (parameters, momentum, state, the mean image) lie under their names; ``__metadata__`` holds the record
of the run as JSON and a CRC-32 of each tensor and of the record, since safetensors itself has no checksums, and a seal
over both, so that a record never goes with another's tensors. Reading runs no code. A file is synced before it gets its
name.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from netspec.errors import NetspecError, NoSuchFile
from netspec.exchange import tensor_file
from netspec.machine.atomic_files import write_whole
from netspec.metrics import decisive, score_of
from netspec.registry import Plugin
from netspec.rundir.directory import START
from netspec.rundir.run_files import Damaged, as_object, opened, read_json

FORMAT = 1
SUFFIX = ".safetensors"

Tensors = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The latest evaluation: the iteration it was made at, mean loss, errors by name, and the number to go by.

    ``score``: less of it is better, see netspec.metrics; None where version 0.1 evaluated.
    """

    iteration: int
    loss: float
    errors: Mapping[str, float]
    score: float | None = None

    @property
    def rank(self) -> float:
        """The score; of version 0.1 the top-1 error, else the loss. Infinite when there is no such number."""
        if self.score is not None:
            return self.score
        return score_of(decisive((), self.errors), self.loss, self.errors)


@dataclass(frozen=True, slots=True)
class Record:
    """Where a run stands, beside its tensors.

    ``iteration`` and ``epoch`` are finished ones; ``position`` counts the batches of the epoch in progress that are
    done. ``spec`` is the canonical spec, ``given`` that of the file alone, without what the command line changed;
    ``data`` tells the images apart (see resume.py). ``validation_errors`` holds one score an epoch, for the schedule.
    ``tuned`` maps steps to the kernels that measurements chose for them, see netspec.program.choice;
    ``environment`` has what chose machine code beside them, see netspec.machine.environment. ``plugins`` has the code
    of layers that are not built in; ``words`` what people call classes, by name. ``init_from`` names the checkpoint
    that the run started from, with its SHA-256, the tensors that were taken and those that were not.
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
    init_from: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Whether the latest evaluation was of these very parameters."""
        return self.evaluated is not None and self.evaluated.iteration == self.iteration

    @property
    def score(self) -> float:
        """What the best checkpoint has least of; infinite when there is no such number."""
        return self.evaluated.rank if self.evaluated is not None and self.measured else math.inf


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A record and its tensors, read from ``path`` or about to be written."""

    record: Record
    tensors: Tensors
    path: Path | None = field(default=None, compare=False)


def write(path: Path, checkpoint: Checkpoint) -> int:
    """Write the file, whole or not at all; returns its bytes. Raises NetspecError when the disk will not take it."""
    tensors = {name: np.asarray(array, order="C") for name, array in sorted(checkpoint.tensors.items())}
    return write_whole(path, _pieces(checkpoint.record, tensors))


def _pieces(record: Record, tensors: Tensors) -> Iterator[bytes | memoryview]:
    text = record_text(record)
    sums = {name: _checksum(name, array) for name, array in tensors.items()}
    listed = json.dumps({"": zlib.crc32(text.encode()), **sums})
    metadata = {"netspec": text, "crc32": listed, "seal": _seal(text, listed)}
    yield from tensor_file.pieces(metadata, tensors)


def _checksum(name: str, array: np.ndarray[Any, Any]) -> int:
    kind = f"{name} {array.dtype} {array.shape}"
    return zlib.crc32(tensor_file.raw(np.asarray(array, order="C")), zlib.crc32(kind.encode("utf-8", "surrogatepass")))


def _seal(text: str, listed: str) -> str:
    return str(zlib.crc32(f"{text}{listed}".encode("utf-8", "surrogatepass")))


def named(path: Path) -> Path:
    """The file that a person means: a link is followed that is named on the command line, none that lies in a run."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def read(path: Path) -> Checkpoint:
    """Read and verify the whole file: its checksums, and that all numbers are finite.

    Raises Damaged with the reason, or NetspecError when there is no such file.
    """
    with _opened(path) as file:
        header = tensor_file.read_header(path, file)
        record, sums = _record(path, header.metadata)
        if sums.keys() != header.entries.keys():
            raise Damaged(path, f"damaged: {_few(sums.keys() ^ header.entries.keys())}: a tensor or its sum is missing")
        tensors = tensor_file.read_arrays(path, file, header)
    wrong = [name for name in tensors if _checksum(name, tensors[name]) != sums[name]]
    if wrong:
        raise Damaged(path, f"damaged: the content of {_few(wrong)} is not what was written")
    if spoilt := [name for name, array in tensors.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]:
        raise Damaged(path, f"not finite: {', '.join(spoilt[:3])} of it holds NaN or infinities; take an earlier one")
    return Checkpoint(record, tensors, path)


def _few(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:3])


def read_record(path: Path) -> Record:
    """Read the record only, which is quick. Raises as ``read`` does; tensors are not verified."""
    with _opened(path) as file:
        return _record(path, tensor_file.read_header(path, file).metadata)[0]


def read_shapes(path: Path) -> tuple[Record, dict[str, tuple[int, ...]]]:
    """Read the record and the shapes of the tensors, which is quick. Raises as ``read_record`` does."""
    with _opened(path) as file:
        header = tensor_file.read_header(path, file)
    return _record(path, header.metadata)[0], {name: entry.shape for name, entry in header.entries.items()}


def _opened(path: Path) -> BinaryIO:
    try:
        return opened(path)
    except FileNotFoundError:
        raise NoSuchFile(f"{path}: no such run or checkpoint (netspec runs lists runs)") from None


def _record(path: Path, metadata: Mapping[str, str]) -> tuple[Record, dict[str, int]]:
    if "netspec" not in metadata or "crc32" not in metadata:
        raise Damaged(path, "not a netspec checkpoint: it has tensors but no record of a run")
    text, listed = metadata["netspec"], metadata["crc32"]
    sums = as_object(path, listed)
    whole = metadata.get("seal") in (None, _seal(text, listed))  # older files have none
    if zlib.crc32(text.encode("utf-8", "surrogatepass")) != sums.pop("", None) or not whole:
        raise Damaged(path, "damaged: its record is not what was written")
    return _decode(path, as_object(path, text)), sums


def record_text(record: Record) -> str:
    """The record as JSON; maps keep their order, in which augmentations are applied."""
    return json.dumps(asdict(record))


def record_of(path: Path) -> Record:
    """What a run's folder, or a checkpoint file, says of the run. Raises NetspecError."""
    return record_from(path / START) if path.is_dir() else read_record(named(path))


def record_from(path: Path) -> Record:
    """The record of a JSON file. Raises Damaged, or NetspecError where there is none."""
    try:
        return _decode(path, read_json(path))
    except FileNotFoundError:
        raise NoSuchFile(f"{path}: no such file") from None


_NAMES = frozenset(each.name for each in fields(Record))
_NEEDED = frozenset(
    each.name for each in fields(Record) if each.default is MISSING and each.default_factory is MISSING
)


def _decode(path: Path, values: dict[str, Any]) -> Record:
    if values.get("format") != FORMAT and type(values.get("format")) is int:
        raise NetspecError(
            f"{path}: written in checkpoint format {values['format']} by netspec {values.get('netspec')}; "
            f"this version reads format {FORMAT}"
        )
    odd = sorted((_NEEDED | {"format"}) - values.keys()) or sorted(values.keys() - _NAMES)
    wrong = f"'{odd[0]}' is missing, or is not known" if odd else _wrong(values)
    if wrong:
        raise Damaged(path, f"damaged: its record cannot be read: {wrong}")
    evaluated = values.pop("evaluated", None)
    for name in ("classes", "validation_errors"):
        values[name] = tuple(values.get(name, ()))
    values["plugins"] = tuple(Plugin(**{**each, "types": tuple(each["types"])}) for each in values.get("plugins", ()))
    return Record(**values, evaluated=Evaluated(**evaluated) if evaluated else None)


def _wrong(values: Mapping[str, Any]) -> str | None:
    """What is not of its kind in a record, if anything: an edited one must not fail far from here."""
    for name, (is_kind, kind) in _KINDS.items():
        if name in values and not is_kind(values[name]):
            return f"'{name}' is not {kind}"
    images = values["data"].get("train", {}).get("images", 0)
    if type(images) is int and images and values["position"] > images // values["batch"]:
        return f"'position' lies beyond the {images // values['batch']:,} batches of an epoch"
    if values.get("evaluated") and values["evaluated"]["iteration"] > values["iteration"]:
        return "'evaluated' is of a later iteration"
    return None


def _is_count(least: int, below: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value < below


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _is_list_of(is_kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_kind, value))


def _is_map_of(is_kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_kind, value.values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_evaluated(value: Any) -> bool:
    match value:
        case None:
            return True
        case {"iteration": iteration, "loss": loss, "errors": errors}:
            score = value.get("score")
            known = value.keys() <= {"iteration", "loss", "errors", "score"} and (score is None or _is_number(score))
            return known and _COUNT(iteration) and _is_number(loss) and _is_map_of(_is_number)(errors)
    return False


def _is_plugin(value: Any) -> bool:
    names = {each.name for each in fields(Plugin)}
    if not isinstance(value, dict) or not {"file", "types"} <= value.keys() <= names:
        return False
    kinds: dict[str, Callable[[Any], bool]] = {"types": _is_list_of(_is_text), "digests": _is_map_of(_is_text)}
    kinds["is_folder"] = lambda part: type(part) is bool
    return all(kinds.get(name, _is_text)(part) for name, part in value.items())


def _is_spec(value: Any) -> bool:
    """Whether it has layers with names; what else is wrong with it is told with its place when it is built."""
    layers = value.get("layers") if isinstance(value, dict) else None
    return isinstance(layers, list) and all(isinstance(one, dict) and _is_text(one.get("name")) for one in layers)


_COUNT = _is_count(0, 2**48)
_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("iteration", "epoch", "position"), (_COUNT, "a whole number from 0 below 2**48")),
    "format": (_is_count(FORMAT, FORMAT + 1), f"{FORMAT}"),
    "seed": (_is_count(0, 2**63), "a whole number from 0 below 2**63"),
    "batch": (_is_count(1, 2**31), "a whole number from 1 below 2**31"),
    "classes": (_is_list_of(_is_text), "a list of names"),
    **dict.fromkeys(("spec", "given"), (_is_spec, "a spec: it needs layers with names")),
    "data": (_is_map_of(lambda value: isinstance(value, dict)), "maps by split"),
    "validation_errors": (_is_list_of(_is_number), "a list of numbers"),
    "evaluated": (_is_evaluated, "iteration, loss and errors"),
    "netspec": (_is_text, "a version"),
    **dict.fromkeys(("tuned", "environment", "words"), (_is_map_of(_is_text), "texts by name")),
    "init_from": (lambda value: isinstance(value, dict), "a map"),
    "plugins": (_is_list_of(_is_plugin), "a list of files with their layer types and digests"),
}
