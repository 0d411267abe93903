"""Launching a run: from a request, open its run directory and network, and train."""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from netspec._types import RunResult
from netspec.callbacks import Callback, make_callback
from netspec.device.base import Device
from netspec.device.binding import available
from netspec.events import Listener
from netspec.machine.atomic_files import write_text, write_whole
from netspec.machine.cleanup import on_error, on_exit
from netspec.machine.environment import code_choices, describe_environment
from netspec.machine.tasks import hearing
from netspec.planning.trainable import inputs_read
from netspec.registry import load_plugin
from netspec.rundir.directory import MEAN, START, RunDirectory
from netspec.rundir.rank_log import RankLog
from netspec.rundir.tags import checked, tag
from netspec.runners.execution.gathering import WholeCopies, gathered
from netspec.runners.execution.session import Session
from netspec.runners.execution.trace import Trace
from netspec.runners.recorded_plugins import keep_copies, used_by
from netspec.runners.training import resume
from netspec.runners.training.agreement import compared
from netspec.runners.training.checkpoint import Checkpoint, Record, Tensors, record_text, write
from netspec.runners.training.journal import Journal
from netspec.runners.training.loop import State
from netspec.runners.training.opening import Network, begin, begun, go_on, open_network
from netspec.runners.training.request import Request, Settled, name_of
from netspec.runners.training.resume import Origin
from netspec.runners.training.run import MadeBy, Run, record_of
from netspec.runners.training.saver import NoSaver, Saver, path_of, set_aside
from netspec.runners.transport.base import Transport
from netspec.runners.transport.opened import tell_folder, transport_of
from netspec.spec import resolved
from netspec.spec.typed_options import callback_settings
from netspec.store.store import Parts


def launch(request: Request, listener: Listener | None) -> RunResult:
    """Train as requested. Raises NetspecError; a run directory, where one was made, then says that it failed.

    Where mpiexec or srun started several processes, all of them call this with the same request; one that fails ends
    all, and what rank 0 writes is the run.
    """
    with ExitStack() as stack:
        transport = stack.enter_context(transport_of())
        is_first = transport.rank == 0
        journal = Journal(listener if is_first else None)
        stack.enter_context(on_exit(journal.close))
        stack.enter_context(hearing(journal))
        if request.trace:
            Trace.prepare(request.trace)
        trace = Trace() if request.trace and is_first else None
        callbacks = _callbacks(request) if is_first else []
        checked(request.tags, request.note)
        run = _open(request, journal, stack, trace, transport)
        for one in callbacks:
            with on_error(one.close):
                one.begin(run.folder.path, run.state.iteration)
            journal.also(one, one.type, one.close)
        if trace and request.trace:
            stack.enter_context(on_exit(partial(_write_trace, trace, request.trace, journal)))
        return run.train()


def _callbacks(request: Request) -> list[Callback]:
    """What is asked for beside the terminal and the metrics file. Raises NetspecError where it cannot be had."""
    for plugin in request.binding.plugins if request.log else ():
        load_plugin(plugin)
    made = [make_callback(settings) for settings in callback_settings(request.log)]
    for one in made:
        one.check()
    return made


def _open(request: Request, journal: Journal, stack: ExitStack, trace: Trace | None, transport: Transport) -> Run:
    """Open all that a run consists of; what is wrong is found before a new directory is made."""
    is_first = transport.rank == 0
    origin, folder = _origin(request, journal, stack) if is_first else (None, None)
    tensors = origin.tensors if origin else None
    origin = transport.broadcast(replace(origin, tensors=None) if origin else None)  # of what is loaded all get a copy
    network = open_network(request, journal, stack, origin, trace, transport, begins=is_first and tensors is None)
    settled, data, session, start, _ = network
    spec = settled.spec
    started = start.record if start else origin.record.init_from if origin else {}
    made_by = MadeBy(used_by(spec), _code_choices(session), _tuned(session), started)
    if origin is not None and tensors is not None:
        for note in _other_code(origin.record, made_by):
            journal.note(note)
    _fill(network, origin, tensors, journal)
    if transport.size > 1:
        for note in compared(transport, data.fingerprint, made_by.environment):
            journal.note(note)
    state, is_new = _state(origin), transport.broadcast(folder is None)
    others = gathered(session) if is_new else {}
    if not is_first:
        return _follow(network, journal, stack, state, made_by, request)
    if folder is None:
        folder = stack.enter_context(RunDirectory.create(request.out, spec.name))
        record = record_of(settled, data, made_by, state)
        _describe_run(folder, settled, network, others, record)
        journal.keep_in(folder)
    transport.broadcast(folder.path)
    tell_folder(folder.path)
    _record_start(folder, settled, origin, session, made_by, journal)
    if request.tags or request.note is not None:
        tag(folder.path, request.tags, note=request.note)
    whole = session.store if session.crew.within.size == 1 else WholeCopies(session)
    saver = Saver(folder.checkpoints, whole, trace=trace)
    return Run(settled, folder, journal, session, data, saver, state, made_by, request, trace)


def _fill(network: Network, origin: Origin | None, tensors: Tensors | None, journal: Journal) -> None:
    """Give the network what it begins with, of which rank 0 knows; the first group's ranks hand it to other groups."""
    session, crew = network.session, network.session.crew
    goes_on, given = tensors is not None, tensors or {}
    if crew.world.rank == 0 and not goes_on:
        given = begun(network)
    if crew.within.size > 1:
        goes_on, given = crew.world.broadcast((goes_on, given))
    if crew.world.rank == 0 or crew.within.size > 1:
        if origin is not None and goes_on:
            go_on(session, origin, given, journal)
        else:
            begin(session, given)
    if crew.groups > 1:
        session.store.take(crew.across.broadcast(session.store.parts() if crew.group == 0 else {}))


def _follow(
    network: Network, journal: Journal, stack: ExitStack, state: State, made_by: MadeBy, request: Request
) -> Run:
    """The run of another process than rank 0: it writes its log alone."""
    settled, data, session, *_ = network
    path: Path = session.transport.broadcast(Path())
    folder = stack.enter_context(RankLog(path, session.transport.rank))
    journal.keep_in(folder)
    saver = NoSaver(partial(gathered, session)) if session.crew.group == 0 else NoSaver()
    return Run(settled, folder, journal, session, data, saver, state, made_by, request)


def _origin(request: Request, journal: Journal, stack: ExitStack) -> tuple[Origin | None, RunDirectory | None]:
    """What to go on from, and the run directory to go on in, whose lock is taken before anything is read there."""
    if request.resume is None:
        return None, None
    name = None if request.spec is None else name_of(request.spec, request.sets)
    path, folder = resume.locate(request.resume, request.out, name), None
    if path.is_dir():
        folder = stack.enter_context(RunDirectory(path))
        journal.keep_in(folder)
    origin = resume.origin_at(path)
    for note in set_aside(origin.damaged):
        journal(note)
    journal.note(origin.told)
    return origin, folder


def _state(origin: Origin | None) -> State:
    """Where the resumed run stands; the beginning of a new one."""
    if origin is None:
        return State()
    record = origin.record
    place = (record.iteration, record.epoch, record.position)
    return State(*place, validation_errors=record.validation_errors, evaluated=record.evaluated)


def _tuned(session: Session) -> dict[str, str]:
    """The variants that measurements chose, for steps of all ranks of a group."""
    return {step: variant for tuned in session.crew.within.gather(session.tuned) for step, variant in tuned.items()}


def _code_choices(session: Session) -> dict[str, str]:
    """What decides the last bits, and how activations are stored where that is not as always."""
    storage = {} if session.storage == "float32" else {"storage": session.storage, **_units(session)}
    return {**code_choices(_models(session)), **storage}


def _units(session: Session) -> dict[str, str]:
    """By what CPUs multiply bfloat16."""
    units = dict.fromkeys(str(each.capability) for each in session.devices.values() if each.kind == "cpu")
    return {"bfloat16 on CPUs": ", ".join(units)} if units else {}


def _models(session: Session) -> list[str]:
    """Kinds of the devices, GPUs with their compute capability."""
    return [f"{each.kind} {_compute_capability(each)}".strip() for each in session.devices.values()]


def _compute_capability(device: Device) -> str:
    return ".".join(map(str, device.capability or ())) if device.kind == "cuda" else ""


def _other_code(record: Record, made_by: MadeBy) -> list[str]:
    """Lines for people where a resumed run's numbers come from other code than before."""
    return [*resume.other_code(record.environment, made_by.environment), *resume.other_kernels(record, made_by.tuned)]


def _describe_run(folder: RunDirectory, settled: Settled, network: Network, others: Parts, record: Record) -> None:
    """Write what a new directory says of its run; ``start.json`` last, since with it the run can be resumed."""
    store, classes = network.session.store, network.data.source.classes
    folder.write_specs(settled.text, resolved(settled.spec))
    if classes:
        folder.write_classes(classes)
    if (image := inputs_read(settled.spec).image) is not None:
        write_whole(folder.path / MEAN, [_npy(store.tensor(f"{image}.mean", others))])
    if record.iteration or record.init_from:  # this run can go on without the file that it began from
        write(path_of(folder.checkpoints, record.iteration), Checkpoint(record, store.tensors(others)))
    write_text(folder.path / START, record_text(record))


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _record_start(
    folder: RunDirectory,
    settled: Settled,
    origin: Origin | None,
    session: Session,
    made_by: MadeBy,
    journal: Journal,
) -> None:
    """Enter the start in the run's history, with what a resumption changed."""
    keep_copies(made_by.plugins, folder.path)
    details = {
        "found": [f"{each.name}: {each.description}" for each in available()],
        "BLAS": made_by.environment["BLAS"],
        "storage": session.storage,
        "plugins": [asdict(plugin) for plugin in made_by.plugins],
    }
    folder.write_environment(describe_environment(session.notes, details))
    for change in settled.changes:
        journal.note(f"changed: {change}")
    start = {"command": sys.argv, "iteration": origin.record.iteration if origin else 0}
    if origin is None:
        folder.record("start", **start)
    else:
        changed = {"changes": list(settled.changes), "changed": settled.changed}
        folder.record("resume", **start, checkpoint=str(origin.path), **changed)


def _write_trace(trace: Trace, path: Path, journal: Journal) -> None:
    trace.write(path)
    journal.note(f"trace written to {path} ({trace.extent}): open it in chrome://tracing or https://ui.perfetto.dev")
