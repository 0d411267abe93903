"""Launching a run: from a request, open its run directory, images and devices, and train."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from netspec._types import RunResult
from netspec.callbacks import Callback, make_callback
from netspec.data.dataset import Dataset, unused_outputs
from netspec.data.mean import ImageConstants
from netspec.data.pipeline import Pipeline
from netspec.data.workers.pool import workers_note
from netspec.device.binding import available
from netspec.errors import NetspecError, Problem, SpecError
from netspec.events import Listener
from netspec.machine.atomic_files import write_text, write_whole
from netspec.machine.cleanup import on_error, on_exit
from netspec.machine.environment import choosing_variables, code_choices, describe_environment
from netspec.machine.tasks import hearing, task
from netspec.planning import TensorKey, build, check
from netspec.planning.replica_tree import uneven_processes
from netspec.planning.trainable import Images, count_outputs, inputs_read, problems_with, roles, set_problems
from netspec.registry import installed_faults, load_plugin
from netspec.rundir.directory import MEAN, START, RunDirectory
from netspec.rundir.rank_log import RankLog
from netspec.rundir.tags import checked, tag
from netspec.runners.execution.session import Session, check_binding
from netspec.runners.execution.trace import Trace
from netspec.runners.recorded_plugins import keep_copies, load_again, run_of, used_by
from netspec.runners.training import resume
from netspec.runners.training.agreement import compared
from netspec.runners.training.checkpoint import Checkpoint, Record, Tensors, record_text, write
from netspec.runners.training.follow_data import open_images
from netspec.runners.training.init_from import Start, read_start
from netspec.runners.training.journal import Journal
from netspec.runners.training.loop import State
from netspec.runners.training.request import Request, Settled, name_of, settle
from netspec.runners.training.resume import Origin
from netspec.runners.training.run import Data, MadeBy, Run, record_of
from netspec.runners.training.saver import NoSaver, Saver, path_of, set_aside
from netspec.runners.transport.alone import ALONE
from netspec.runners.transport.base import Transport
from netspec.runners.transport.opened import tell_folder, transport_of
from netspec.schedules import make_schedule
from netspec.spec import resolved
from netspec.spec.callback_settings import callback_settings
from netspec.spec.train_section import SHORT
from netspec.spec.types import Spec


def launch(request: Request, listener: Listener | None) -> RunResult:
    """Train as requested. Raises NetspecError; a run directory, where one was made, then says that it failed.

    Where mpiexec or srun started several processes, all of them call this with the same request; one that fails ends
    all, and what rank 0 writes is the run.
    """
    with ExitStack() as stack:
        transport = stack.enter_context(transport_of())
        journal = Journal(listener if transport.rank == 0 else None)
        stack.enter_context(on_exit(journal.close))
        stack.enter_context(hearing(journal))
        if request.trace:
            Trace.prepare(request.trace)
        is_first = transport.rank == 0
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
    origin = transport.broadcast(origin)
    network = open_network(request, journal, stack, origin, trace, transport)
    settled, data, session, start, _ = network
    spec = settled.spec
    started = start.record if start else origin.record.init_from if origin else {}
    made_by = MadeBy(used_by(spec), code_choices(_models(session)), session.tuned, started)
    for note in _other_code(origin, made_by):
        journal.note(note)
    if is_first and origin is not None and origin.tensors is not None:
        _go_on(session, origin, origin.tensors, journal)
    elif is_first:
        begin(network)
    if transport.size > 1:
        session.store.load(transport.broadcast(session.store.tensors() if is_first else {}))
        for note in compared(transport, data.fingerprint, made_by.environment):
            journal.note(note)
    state = _state(origin)
    if not is_first:
        return _follow(network, journal, stack, state, made_by, request)
    if folder is None:
        folder = stack.enter_context(RunDirectory.create(request.out, spec.name))
        _describe_run(folder, settled, data, session, record_of(settled, data, made_by, state))
        journal.keep_in(folder)
    transport.broadcast(folder.path)
    tell_folder(folder.path)
    _record_start(folder, settled, origin, session, made_by, journal)
    if request.tags or request.note is not None:
        tag(folder.path, request.tags, note=request.note)
    saver = Saver(folder.checkpoints, session.store, trace=trace)
    return Run(settled, folder, journal, session, data, saver, state, made_by, request, trace)


def _follow(
    network: Network, journal: Journal, stack: ExitStack, state: State, made_by: MadeBy, request: Request
) -> Run:
    """The run of another process than rank 0: it writes its log alone."""
    settled, data, session, *_ = network
    path: Path = session.transport.broadcast(Path())
    folder = stack.enter_context(RankLog(path, session.transport.rank))
    journal.keep_in(folder)
    return Run(settled, folder, journal, session, data, NoSaver(), state, made_by, request)


class Network(NamedTuple):
    """A network that is ready to be trained, but for its parameters; ``start`` is another run that it starts from.

    ``constants`` are found out about the images of each input that has some, unless the run goes on with a checkpoint;
    rank 0 has them.
    """

    settled: Settled
    data: Data
    session: Session
    start: Start | None
    constants: Mapping[str, ImageConstants]


def open_network(
    request: Request,
    journal: Journal,
    stack: ExitStack,
    origin: Origin | None = None,
    trace: Trace | None = None,
    transport: Transport = ALONE,
) -> Network:
    """Open the images and the devices of a run, which ``stack`` closes, once all that is asked has been checked.

    Raises NetspecError.
    """
    recorded, run = (origin.record.plugins, run_of(origin.folder or origin.path)) if origin else ((), None)
    changes = load_again(recorded, request.binding.plugins, journal.note, run)
    for note in installed_faults():
        journal.note(note)
    settled = settle(request, origin, changes)
    spec = settled.spec
    check_binding(spec, request.binding.names, request.binding.runner)
    for note in check(spec):
        journal.note(note)
    with task("opening the images"):
        opened = open_images(spec, own=request.data is not None and origin is None)
    for note in opened.notes:
        journal.note(note)
    spec = opened.spec
    settled = replace(settled, spec=spec)
    start = read_start(spec) if origin is None and transport.rank == 0 else None
    for note in start.notes if start else ():
        journal.note(note)
    data = open_data(spec, opened.source, request.workers, journal, origin, (transport.rank, transport.size))
    stack.enter_context(on_exit(data.close))
    known = transport.rank > 0 or (origin is not None and origin.tensors is not None)
    constants = {} if known else _constants(spec, data, request.workers, stack)
    _read_ahead(data.train, origin)
    session = stack.enter_context(_open_session(spec, request, trace, transport))
    for note in (*session.notes, *_set_variables()):
        journal.note(note)
    return Network(settled, data, session, start, constants)


def _constants(spec: Spec, data: Data, workers: int | None, stack: ExitStack) -> dict[str, ImageConstants]:
    """Begin to find out what belongs to the images of each input; workers read them while the devices are opened."""
    found = {}
    for name in roles(spec).images:
        images, shape = data.source.train.of_input(name), spec.inputs[name].shape
        found[name] = ImageConstants(images, spec.data, shape, spec.train.seed, workers)
        stack.enter_context(on_exit(found[name].close))
    return found


def _read_ahead(train: Pipeline, origin: Origin | None) -> None:
    """Have the first batches of the training read while the devices are opened."""
    record = origin.record if origin else None
    train.epoch(*(record.epoch, record.position) if record else (0, 0))


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


def open_data(
    spec: Spec,
    source: Dataset,
    workers: int | None,
    journal: Journal,
    origin: Origin | None,
    part: tuple[int, int] = (0, 1),
) -> Data:
    """Check that the images suit the network and, in a resumed run, are the same, and have them read.

    ``part`` is this process's number, counted from 0, and how many there are, each of which reads its own images.
    Raises SpecError for a number that cannot share the batch.
    """
    if problem := uneven_processes(part[1], spec.replicas):
        raise SpecError([Problem(spec.marks.get("replicas", spec.mark), *problem)])
    outputs = count_outputs(build(spec, "predict", 1))
    journal.note(workers_note(spec.data.workers if workers is None else workers))
    found = Images(len(source.train), len(source.val or ()), len(source.classes), source.where)
    found = found._replace(arrays=source.train.arrays, numbers=source.train.number_count)
    problems = list(problems_with(spec, found, outputs))
    if source.val is not None and not problems:
        problems += set_problems(spec, source.val.arrays, source.val.number_count)
    if problems:
        raise SpecError(problems)
    journal.note(unused_outputs(source, outputs))
    fingerprint = resume.fingerprint(source)
    if origin is not None:
        resume.check_data(origin.record, fingerprint, source)
    read = inputs_read(spec)
    centre = replace(spec.data, views=1)  # ten views an epoch would cost more than they tell
    rest = (read.shape, spec.train.seed, workers, read.more, part)
    train = Pipeline(source.train, centre, "train", spec.train.batch // part[1], *rest)
    train.tint_strength = make_schedule(spec.train.schedule).tint
    val = Pipeline(source.val, centre, "val", spec.replica_batch, *rest) if source.val else None
    return Data(source, train, val, fingerprint)


def _open_session(spec: Spec, request: Request, trace: Trace | None, transport: Transport) -> Session:
    names, runner = request.binding.names, request.binding.runner
    return Session(spec, names, runner=runner, seed=spec.train.seed, trace=trace, transport=transport)


def begin(network: Network) -> None:
    """Load what is found out about the run's own images, and what it starts from, beside what initialisers gave."""
    session, start = network.session, network.start
    for name, constants in network.constants.items():
        found = {f"{name}.{one}": values for one, values in constants.found().items()}
        session.store.load(found, strict=False)
    if start is not None:
        session.store.load({**start.tensors, **_averages(session, start.tensors)}, strict=False)


def _go_on(session: Session, origin: Origin, tensors: Tensors, journal: Journal) -> None:
    """Load a checkpoint's tensors.

    The solver's own may be fewer or more than there were, since settings of ``train`` may change: its state begins at 0
    then, an average at its parameter. What another solver kept is left behind, whatever it is called.
    """
    keys = session.store.keys()
    same = _solver_of(origin.record) == session.spec.train.solver["type"]
    own = {name for name in tensors if name.rpartition(".")[0] in keys and not (same and name in keys)}
    kept = {name: array for name, array in tensors.items() if name not in own or _is_average(keys.get(name))}
    missing = [name for name in keys if name not in kept and keys[name].slot]
    averages = _averages(session, kept)
    zeros = {name: session.store.tensor(name) for name in missing if name not in averages}
    try:
        session.store.load({**kept, **zeros, **{name: averages[name] for name in missing if name in averages}})
    except NetspecError as error:
        raise NetspecError(f"{origin.path}: {error}") from error
    if missing:
        journal.note(f"new in this run, so beginning at 0, averages at their parameters: {', '.join(missing)}")


def _solver_of(record: Record) -> str:
    """The type of the solver that a run was trained with; version 0.1 had one."""
    found: str = record.spec["train"].get("solver", {"type": SHORT})["type"]
    return found


def _is_average(key: TensorKey | None) -> bool:
    return key is not None and key.slot == "average"


def _averages(session: Session, tensors: Tensors) -> Tensors:
    """The averages of parameters whose values are given."""
    keys = session.store.keys()
    averages = {name: str(key.parameter) for name, key in keys.items() if key.slot == "average"}
    return {name: tensors[parameter] for name, parameter in averages.items() if parameter in tensors}


def _state(origin: Origin | None) -> State:
    """Where the resumed run stands; the beginning of a new one."""
    if origin is None:
        return State()
    record = origin.record
    place = (record.iteration, record.epoch, record.position)
    return State(*place, validation_errors=record.validation_errors, evaluated=record.evaluated)


def _models(session: Session) -> list[str]:
    """Kinds of the devices, GPUs with their compute capability."""
    capabilities = {name: device.capability or () for name, device in session.devices.items()}
    return [f"{each.kind} {'.'.join(map(str, capabilities[name]))}".strip() for name, each in session.devices.items()]


def _set_variables() -> list[str]:
    found = " ".join(f"{name}={value}" for name, value in choosing_variables().items())
    return [f"the environment chooses machine code: {found}"] if found else []


def _other_code(origin: Origin | None, made_by: MadeBy) -> list[str]:
    """Lines for people where a resumed run's numbers come from other code than before."""
    if origin is None or origin.tensors is None:
        return []
    record = origin.record
    return [*resume.other_code(record.environment, made_by.environment), *resume.other_kernels(record, made_by.tuned)]


def _describe_run(folder: RunDirectory, settled: Settled, data: Data, session: Session, record: Record) -> None:
    """Write what a new directory says of its run; ``start.json`` last, since it makes the run one to go on with."""
    folder.write_specs(settled.text, resolved(settled.spec))
    if data.source.classes:
        folder.write_classes(data.source.classes)
    if (image := inputs_read(settled.spec).image) is not None:
        write_whole(folder.path / MEAN, [_npy(session.store.tensor(f"{image}.mean"))])
    if record.iteration or record.init_from:  # this run can go on without the file that it began from
        write(path_of(folder.checkpoints, record.iteration), Checkpoint(record, session.store.tensors()))
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
