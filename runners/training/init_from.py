"""Starting from another run's parameters: what is taken, what does not fit, what is left to the initialisers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netspec.contract.tensor import Shape
from netspec.errors import Mark, NetspecError, NoSuchFile, Problem, SpecError
from netspec.planning import Plan, build
from netspec.planning.identities import TensorKey
from netspec.rundir.directory import CHECKPOINTS
from netspec.rundir.run_files import Damaged
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Checkpoint, Record, Tensors
from netspec.runners.training.saver import ranked
from netspec.spec.patterns import last_match, matches
from netspec.spec.types import InitSpec, Spec


@dataclass(frozen=True, slots=True)
class Start:
    """The values that a run starts from, by the name of the tensor here, and what is recorded and told of them."""

    tensors: Tensors
    record: Mapping[str, Any]
    notes: Sequence[str]


def check_start(spec: Spec) -> tuple[str, ...]:
    """What would be taken, in lines; reads the header of the checkpoint only.

    Raises SpecError where there is no checkpoint, or not what ``layers`` demands of it.
    """
    start = spec.train.init_from
    if start is None or start.path is None:
        return ()
    with _told(spec):
        damaged: list[Damaged] = []
        path = next(_candidates(Path(start.path), damaged), None)
        if path is None:
            raise NetspecError("\n".join(map(str, damaged)))
        record, shapes = checkpoint.read_shapes(path)
    return tuple(_Match(spec, start, path, record, shapes).told())


def read_start(spec: Spec) -> Start | None:
    """The tensors to start from, verified; None where the spec names no run. Raises as ``check_start`` does."""
    start = spec.train.init_from
    if start is None or start.path is None:
        return None
    with _told(spec):
        found, damaged = _whole(Path(start.path))
        assert found.path is not None
        digest = _sha256(found.path)
    shapes = {name: array.shape for name, array in found.tensors.items()}
    match = _Match(spec, start, found.path, found.record, shapes)
    notes = (*(f"{error}; passed over" for error in damaged), *match.told())
    tensors = {str(key): found.tensors[name] for key, name in match.taken.items()}
    return Start(tensors, {"path": str(found.path), "sha256": digest, **match.recorded()}, notes)


class _Match:
    """Which tensors of a checkpoint this network takes."""

    def __init__(
        self, spec: Spec, start: InitSpec, path: Path, record: Record, there: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.start, self.path, self.record, self.there = start, path, record, there
        ema = record.spec.get("train", {}).get("ema")  # not as a Spec: plugins of its layers may not be at hand
        self.averaged = bool(ema and ema.get("evaluate"))
        self.wanted = _wanted(build(spec, "train"))
        self.taken = {key: name for key in self.wanted if (name := self._taken(key)) is not None}
        self.new = {key: self._why_new(key) for key in self.wanted if key not in self.taken}
        if problems := list(self._problems(spec)):
            raise SpecError(problems)

    def _asked(self, key: TensorKey) -> str | None:
        return last_match(self.start.layers.items(), key.layer or "", key.tensor)

    def _name(self, key: TensorKey) -> str:
        """The tensor's name there: its average where the run evaluated those."""
        average = f"{key}.average"
        return average if self.averaged and average in self.there else str(key)

    def _taken(self, key: TensorKey) -> str | None:
        name = self._name(key)
        fits = self.there.get(name) == self.wanted[key]
        return name if fits and self._asked(key) != "new" else None

    def _why_new(self, key: TensorKey) -> str:
        there = self.there.get(self._name(key))
        if self._asked(key) == "new":
            return "asked for"
        return "not there" if there is None else f"{list(there)} there, {list(self.wanted[key])} here"

    def _problems(self, spec: Spec) -> Iterator[Problem]:
        layers = self.start.layers
        for key, why in self.new.items():
            if self._asked(key) == "keep":
                pattern = [one for one in layers if matches(one, key.layer or "", key.tensor)][-1]
                mark = _mark(spec, f"train.init_from.layers.{pattern}")
                yield Problem(mark, f"'{pattern}: keep', but {key} cannot be had from {self.path}: {why}")
        if not self.taken:
            message = f"nothing in {self.path} fits this network by name and shape"
            yield Problem(_mark(spec, "train.init_from.path"), message, "its layers must have the same names")

    def told(self) -> Iterator[str]:
        """The listing, for people."""
        kind = ", averages" if self.averaged else ""
        yield f"starts from {self.path} (iteration {self.record.iteration:,}{kind})"
        yield f"  taken: {_listed(self.taken)}"
        if self.new:
            yield "  new: " + "; ".join(f"{key} ({why})" for key, why in self.new.items())
        if left := self._left():
            yield f"  left there: {', '.join(left)}"

    def _left(self) -> list[str]:
        """Parameters there that have no counterpart here; what lies beside a parameter is not told."""
        known = {str(key) for key in self.wanted}
        beside = {name for name in self.there if name.rpartition(".")[0] in self.there}
        of_images = {f"{name}.{one}" for name in self.record.spec.get("inputs", {}) for one in ("mean", "components")}
        return [name for name in self.there if name not in known | beside | of_images]

    def recorded(self) -> dict[str, Any]:
        """The same for the run's record."""
        new = {str(key): why for key, why in self.new.items()}
        return {"iteration": self.record.iteration, "taken": [str(key) for key in self.taken], "new": new}


def _wanted(plan: Plan) -> dict[TensorKey, Shape]:
    """The network's parameters and state, whole."""
    stored = (plan.buffers[key].logical for key in plan.keys("parameter", "state"))
    return {logical.key: logical.shape for logical in stored if logical is not None}


def _listed(keys: Mapping[TensorKey, str]) -> str:
    """Layers with what is taken of them."""
    by_layer: dict[str, list[str]] = {}
    for key in keys:
        by_layer.setdefault(key.layer or "", []).append(key.tensor)
    return ", ".join(f"{layer} ({', '.join(tensors)})" for layer, tensors in by_layer.items())


def _candidates(path: Path, damaged: list[Damaged]) -> Iterator[Path]:
    """The checkpoint files that are meant, best first. Raises NetspecError where there is none."""
    if path.is_dir():
        found = [kept.path for kept in ranked(path / CHECKPOINTS, damaged)]
        if not found and not damaged:
            raise NetspecError(f"{path}: no checkpoint there; name a run directory or a checkpoint file")
        yield from found
    elif path.exists():
        yield checkpoint.named(path)
    else:
        raise NoSuchFile(f"{path}: no such run directory or checkpoint")


def _whole(path: Path) -> tuple[Checkpoint, list[Damaged]]:
    """The best checkpoint that is whole, and what is wrong with others."""
    damaged: list[Damaged] = []
    for file in _candidates(path, damaged):
        try:
            return checkpoint.read(file), damaged
        except Damaged as error:
            damaged.append(error)
    raise NetspecError("\n".join(map(str, damaged)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _told(spec: Spec) -> Iterator[None]:
    """Turn what is wrong with the checkpoint into a problem of the spec that names it."""
    try:
        yield
    except NetspecError as error:
        message = f"'train.init_from.path': {error}"
        raise SpecError([Problem(_mark(spec, "train.init_from.path"), message)]) from error


def _mark(spec: Spec, path: str) -> Mark:
    return spec.marks.get(path, spec.marks.get("train.init_from", spec.mark))
