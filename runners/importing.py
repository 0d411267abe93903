"""Networks of other programs as checkpoints: what evaluates, predicts and is trained on from there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from netspec._version import __version__
from netspec.errors import NetspecError, NoSuchFile, printable
from netspec.evaluation.table_files import check_file
from netspec.exchange.formats import Asked, Read, read
from netspec.machine.atomic_files import write_text
from netspec.planning import build
from netspec.planning.trainable import count_outputs
from netspec.rundir.run_files import read_text
from netspec.runners.recorded_plugins import used_by
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import SUFFIX, Checkpoint, Record
from netspec.spec import canonical, loads
from netspec.spec.class_counts import settled
from netspec.spec.types import Spec

Arrays = Mapping[str, np.ndarray[Any, Any]]


class Imported(NamedTuple):
    """The checkpoint that was written, the spec's file beside it where the network was found in what was read, and of
    the tensors what was taken (here by there), what was left there and what else is to be told."""

    file: Path
    spec: Path | None
    taken: Mapping[str, str]
    left: Sequence[str]
    notes: Sequence[str]
    parameters: int


def import_network(file: Path, out: Path, asked: Asked, classes: Path | None = None) -> Imported:
    """See ``netspec.import_network``."""
    check_file(out, (SUFFIX,))
    names = _class_names(classes) if classes else ()
    if asked.spec is not None:
        asked = _with_classes(asked, len(names) or None)
    found = read(file, asked)
    beside = out.with_suffix(".yaml")
    spec = asked.spec if found.text is None else settled(loads(found.text, str(beside)))
    assert spec is not None
    tensors = _tensors(file, spec, found)
    made = Checkpoint(_record(file, spec, names or found.classes, found.words), tensors)
    if found.text is not None:
        _write_spec(beside, found.text)
    checkpoint.write(out, made)
    count = sum(tensors[name].size for name in _stored(spec, "parameter", "average"))
    return Imported(out, None if found.text is None else beside, found.taken, found.left, found.notes, count)


def _write_spec(file: Path, text: str) -> None:
    """Write a spec, but not over another one. Raises NetspecError."""
    if file.exists() and read_text(file) != text:
        raise NetspecError(f"{printable(file)}: is there already, and another spec; choose another name for --out")
    write_text(file, text)


def _with_classes(asked: Asked, classes: int | None) -> Asked:
    assert asked.spec is not None
    return replace(asked, spec=settled(asked.spec, classes))


def _class_names(file: Path) -> tuple[str, ...]:
    """Names of classes, one a line."""
    try:
        names = tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    except FileNotFoundError:
        raise NoSuchFile(f"{printable(file)}: no such file") from None
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise NetspecError(f"{printable(file)}: two classes are called '{printable(twice)}'")
    return names


def _tensors(file: Path, spec: Spec, found: Read) -> Arrays:
    """What a checkpoint of the spec holds. Raises NetspecError where the file does not have all of it."""
    wanted, averages = _stored(spec, "parameter", "average", "state", "constant"), _stored(spec, "average")
    problems = [f"'{name}' is missing" for name in wanted if name not in found.arrays]
    for name, array in found.arrays.items():
        if name not in wanted:
            problems.append(f"'{name}' is not of this network")
        elif array.shape != wanted[name]:
            problems.append(f"'{name}' has shape {array.shape}, the network wants {wanted[name]}")
        elif not np.isfinite(array).all():
            problems.append(f"'{name}' holds NaN or infinities")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise NetspecError(f"{printable(file)}: its tensors do not fit the network: {'; '.join(problems[:5])}{more}")
    made = {name: np.asarray(found.arrays[name], np.float32) for name in wanted}
    return {**made, **{f"{name}.average": made[name] for name in averages}}


def _stored(spec: Spec, *roles: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors, whole, that prediction reads; of averages, under the names of their parameters."""
    plan = build(spec, "predict", 1)
    stored = (plan.buffers[key].logical for key in plan.keys(*roles))
    return {str(one.key.parameter): one.shape for one in stored if one is not None}


def _record(file: Path, spec: Spec, names: Sequence[str], words: Mapping[str, str]) -> Record:
    """A record of no training."""
    outputs = count_outputs(build(spec, "predict", 1))
    classes = tuple(names) if names else tuple(map(str, range(outputs or 0)))
    if len(classes) != (outputs or 0):
        raise NetspecError(f"there are {len(classes):,} names of classes, and the network has {outputs or 0:,} outputs")
    with file.open("rb") as stream:
        origin = {"path": str(file.absolute()), "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
    return Record(
        iteration=0,
        epoch=0,
        position=0,
        seed=spec.train.seed,
        batch=spec.train.batch,
        classes=classes,
        words={name: words[name] for name in classes if name in words},
        spec=canonical(spec),
        given=canonical(spec),
        data={},
        netspec=__version__,
        plugins=used_by(spec),
        init_from=origin,
    )
