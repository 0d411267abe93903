"""From a request to a finished run: spec, images, devices and run directory are put together, then trained."""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from netspec._types import RunResult
from netspec.data.mean import mean_image
from netspec.device.binding import available
from netspec.errors import NetspecError
from netspec.events import Listener
from netspec.machine.atomic_files import write_text, write_whole
from netspec.machine.cleanup import on_exit
from netspec.machine.environment import describe_environment
from netspec.planning import check
from netspec.registry import load_plugin
from netspec.rundir.directory import MEAN, START, RunDirectory
from netspec.runners.execution.session import Session, check_binding
from netspec.runners.execution.trace import Trace
from netspec.runners.training import resume
from netspec.runners.training.checkpoint import Checkpoint, record_text, write
from netspec.runners.training.images import Images, open_images
from netspec.runners.training.journal import Journal
from netspec.runners.training.loop import State, input_names
from netspec.runners.training.request import Request, Settled, load_spec, settle
from netspec.runners.training.resume import Origin
from netspec.runners.training.run import Run, record_of
from netspec.runners.training.saver import Saver, path_of, set_aside
from netspec.runners.training.tensorboard import TensorBoard
from netspec.spec import resolved
from netspec.spec.types import Spec


def launch(request: Request, listener: Listener | None) -> RunResult:
    """Train as requested. Raises NetspecError; a run directory, where one was made, then says that it failed."""
    for plugin in request.binding.plugins:
        load_plugin(plugin)
    with ExitStack() as stack:
        journal = Journal(listener)
        stack.enter_context(on_exit(journal.close))
        if request.trace:
            Trace.prepare(request.trace)
        trace = Trace() if request.trace else None
        run = _prepare(request, journal, stack, trace)
        if request.tensorboard:
            board = TensorBoard(run.folder.path, run.state.iteration)
            journal.also(board, "tensorboard", board.close)
        if trace and request.trace:
            stack.enter_context(on_exit(partial(_write_trace, trace, request.trace, journal)))
        return run.train()


def _prepare(request: Request, journal: Journal, stack: ExitStack, trace: Trace | None) -> Run:
    """Put a run together; whatever can be found wrong is found before a new directory is made."""
    origin = _origin(request)
    folder = _open_folder(origin, journal, stack) if origin else None
    settled = settle(request, origin)
    spec = settled.spec
    check_binding(spec, request.binding.names, request.binding.runner)
    for note in check(spec):
        journal.note(note)
    images = open_images(spec, request.workers, journal, origin)
    stack.enter_context(on_exit(images.close))
    session = stack.enter_context(_bind(spec, request, trace))
    for note in session.notes:
        journal.note(note)
    if origin is not None and origin.tensors is not None:
        for note in resume.other_kernels(origin.record, session.tuned):
            journal.note(note)
    _load(session, spec, images, origin, request.workers)
    state = state_of(origin)
    if folder is None:
        folder = stack.enter_context(RunDirectory.create(request.out, spec.name))
        _describe_run(folder, settled, images, session, state)
        journal.keep_in(folder)
    _record_start(folder, settled, origin, session, journal)
    saver = Saver(folder.checkpoints, session.store, trace=trace)
    return Run(settled, folder, journal, session, images, saver, state, request.checkpoint_every, trace)


def _origin(request: Request) -> Origin | None:
    if request.resume is None:
        return None
    name = None if request.spec is None else load_spec(request.spec, request.sets).name
    return resume.find(request.resume, request.out, name)


def _open_folder(origin: Origin, journal: Journal, stack: ExitStack) -> RunDirectory | None:
    """Take hold of the run directory to go on in; None for a checkpoint file by itself."""
    folder = stack.enter_context(RunDirectory(origin.folder)) if origin.folder else None
    if folder is not None:
        journal.keep_in(folder)
    for note in set_aside(origin.damaged):
        journal(note)
    journal.note(origin.told)
    return folder


def _bind(spec: Spec, request: Request, trace: Trace | None) -> Session:
    binding = request.binding
    return Session(spec, binding.names, runner=binding.runner, seed=spec.train.seed, trace=trace)


def _load(session: Session, spec: Spec, images: Images, origin: Origin | None, workers: int | None) -> None:
    """Give the Store its starting values: a checkpoint's, or the mean image beside what the initialisers gave."""
    if origin is not None and origin.tensors is not None:
        try:
            session.store.load(origin.tensors)
        except NetspecError as error:
            raise NetspecError(f"{origin.path}: {error}") from error
        return
    name, _ = input_names(spec)
    mean = mean_image(images.source.train, spec.data, spec.inputs[name].shape, spec.train.seed, workers)
    session.store.load({f"{name}.mean": mean}, strict=False)


def state_of(origin: Origin | None) -> State:
    """Where the run stands that is gone on with; the beginning of a new one."""
    if origin is None:
        return State()
    record = origin.record
    place = (record.iteration, record.epoch, record.position)
    return State(*place, validation_errors=record.validation_errors, evaluated=record.evaluated)


def _describe_run(folder: RunDirectory, settled: Settled, images: Images, session: Session, state: State) -> None:
    """Write what a new directory says of its run; ``start.json`` last, since it makes the run one to go on with."""
    folder.write_specs(settled.text, resolved(settled.spec))
    folder.write_classes(images.source.classes)
    mean = session.store.tensor(f"{input_names(settled.spec)[0]}.mean")
    write_whole(folder.path / MEAN, [_npy(mean)])
    record = record_of(settled, images, session, state)
    if state.iteration:  # branched off a checkpoint: this run can go on without that file
        write(path_of(folder.checkpoints, state.iteration), Checkpoint(record, session.store.tensors()))
    write_text(folder.path / START, record_text(record))


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _record_start(
    folder: RunDirectory, settled: Settled, origin: Origin | None, session: Session, journal: Journal
) -> None:
    """Enter the start in the run's history, with what a resumption changed."""
    details = {"found": [f"{each.name}: {each.description}" for each in available()]}
    folder.write_environment(describe_environment(session.notes, details))
    for change in settled.changes:
        journal.note(f"changed: {change}")
    start = {"command": sys.argv, "iteration": origin.record.iteration if origin else 0}
    if origin is None:
        folder.record("start", **start)
    else:
        folder.record("resume", **start, checkpoint=str(origin.path), changes=list(settled.changes))


def _write_trace(trace: Trace, path: Path, journal: Journal) -> None:
    trace.write(path)
    journal.note(f"trace written to {path} ({trace.extent}): open it in chrome://tracing or https://ui.perfetto.dev")
