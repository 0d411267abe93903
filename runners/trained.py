"""A trained network: a run's best checkpoint or a file, its spec and plugins, and sessions with its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from netspec._types import Binding
from netspec.contract.kernel import Phase
from netspec.errors import NetspecError
from netspec.events import Event, Listener, Note
from netspec.machine.cleanup import on_error
from netspec.planning import build
from netspec.planning.trainable import count_outputs
from netspec.registry import installed_faults
from netspec.rundir.directory import CHECKPOINTS
from netspec.rundir.run_files import Damaged
from netspec.runners.execution.session import Session
from netspec.runners.recorded_plugins import load_again, run_of
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Checkpoint, Record
from netspec.runners.training.saver import listed, ranked
from netspec.spec import from_canonical
from netspec.spec.types import Spec


@dataclass(frozen=True, slots=True)
class Trained:
    """A checkpoint and its spec; ``path`` is what was asked for: a run directory or a file."""

    path: Path
    found: Checkpoint
    spec: Spec

    @property
    def record(self) -> Record:
        """What the checkpoint says of its run."""
        return self.found.record

    @property
    def file(self) -> Path:
        """The checkpoint's file."""
        assert self.found.path is not None
        return self.found.path

    def without_tensors(self) -> Trained:
        """The same, which reads its tensors again when a session is made: so that of several one is in memory."""
        return replace(self, found=replace(self.found, tensors={}))

    def session(
        self, binding: Binding, phase: Phase, batch: int, emit: Listener, spec: Spec | None = None
    ) -> Session:
        """A session with the checkpoint's parameters; its momentum is left aside.

        ``spec`` is another one whose layers have parameters of this one's. Raises NetspecError.
        """
        tensors = self.found.tensors or checkpoint.read(self.file).tensors
        session = Session(spec or self.spec, binding.names, runner=binding.runner, phases=(phase,), eval_batch=batch)
        with on_error(session.close):
            wanted = session.store.shapes()
            try:
                session.store.load({name: array for name, array in tensors.items() if name in wanted})
            except NetspecError as error:
                raise NetspecError(f"{self.file}: {error}") from error
        for note in session.notes:
            emit(Note(note))
        return session


_Key = tuple[Path, tuple[Path, ...]]
_kept: ContextVar[dict[_Key, Trained] | None] = ContextVar("kept", default=None)


@contextmanager
def one_kept_open() -> Iterator[None]:
    """Within it the network that was opened last is not read again: all that is shown is of one checkpoint."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def open_trained(path: Path, binding: Binding, emit: Listener) -> Trained:
    """The checkpoint and its spec; the plugins that it was made with are loaded, and what is odd is told."""
    kept = _kept.get()
    if kept is None:
        return _open(path, binding, emit)
    key = (path, tuple(map(Path, binding.plugins)))
    if key not in kept:
        kept.clear()  # a checkpoint may be large: that of one network is in memory
        kept[key] = _open(path, binding, emit)
    return kept[key]


def _open(path: Path, binding: Binding, emit: Listener) -> Trained:
    found, damaged = find_checkpoint(path)
    for error in damaged:
        emit(Note(f"{error}; passed over"))
    changes = load_again(found.record.plugins, binding.plugins, lambda line: emit(Note(line)), run_of(path))
    for note in (*(f"changed: {change}" for change in changes), *installed_faults()):
        emit(Note(note))
    return Trained(path, found, from_canonical(found.record.spec, str(found.path)))


def output_names(network: Trained) -> tuple[str, ...]:
    """The network's classes; an output that has none is called by its number. Empty without class probabilities."""
    classes, outputs = network.record.classes, count_outputs(build(network.spec, "eval", 1))
    if outputs is None:
        return ()
    return (*classes[:outputs], *(f"output {number}" for number in range(len(classes), outputs)))


def find_checkpoint(path: Path) -> tuple[Checkpoint, list[Damaged]]:
    """A checkpoint file, or a run's best whole one, and what is wrong with others.

    Raises NetspecError where there is none. A run that trains meanwhile may delete a checkpoint that has been listed:
    then the folder is looked at again.
    """
    if not path.is_dir():
        return checkpoint.read(checkpoint.named(path)), []
    while True:
        before = listed(path / CHECKPOINTS)
        try:
            return _best_whole(path)
        except NetspecError:
            if listed(path / CHECKPOINTS) == before:
                raise


def _best_whole(run: Path) -> tuple[Checkpoint, list[Damaged]]:
    damaged: list[Damaged] = []
    for kept in ranked(run / CHECKPOINTS, damaged):
        try:
            return checkpoint.read(kept.path), damaged
        except Damaged as error:
            damaged.append(error)
    if damaged:
        raise NetspecError(f"{run}: no checkpoint is whole and finite:\n" + "\n".join(map(str, damaged)))
    raise NetspecError(f"{run}: no checkpoint there; give a run directory or a checkpoint file")


def nobody(event: Event) -> None:
    """A listener where nobody listens."""


def once(emit: Listener) -> Listener:
    """The listener without notes that it has heard: several networks on one machine have most of them in common."""
    heard: set[str] = set()

    def listen(event: Event) -> None:
        if not isinstance(event, Note):
            emit(event)
        elif event.text not in heard:
            heard.add(event.text)
            emit(event)

    return listen
