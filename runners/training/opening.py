"""Opening a network that is to be trained: its images, its devices, and the parameters that it begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from netspec.data.dataset import Dataset, unused_outputs
from netspec.data.mean import ImageConstants
from netspec.data.pipeline import Pipeline
from netspec.data.resident import Held, ResidentPipeline
from netspec.data.workers.pool import workers_note
from netspec.data.workers.start import dismiss
from netspec.device.binding import place
from netspec.errors import NetspecError, SpecError
from netspec.machine.cleanup import on_exit
from netspec.machine.environment import choosing_variables
from netspec.machine.tasks import task
from netspec.planning import TensorKey, build, check
from netspec.planning.build import outline
from netspec.planning.replica_tree import check_processes
from netspec.planning.trainable import Images, count_outputs, inputs_read, problems_with, roles, set_problems
from netspec.registry import installed_faults
from netspec.runners.execution.memory_check import NoRoomError
from netspec.runners.execution.session import Session, check_binding
from netspec.runners.execution.trace import Trace
from netspec.runners.recorded_plugins import load_again, run_of
from netspec.runners.training import resume
from netspec.runners.training.checkpoint import Record, Tensors
from netspec.runners.training.follow_data import open_images
from netspec.runners.training.hold_data import held_images
from netspec.runners.training.init_from import Start, read_start
from netspec.runners.training.journal import Journal
from netspec.runners.training.request import Request, Settled, settle
from netspec.runners.training.resume import Origin
from netspec.runners.training.run import AnyPipeline, Data
from netspec.runners.training.shared_batches import Unread
from netspec.runners.transport.alone import ALONE
from netspec.runners.transport.base import Transport
from netspec.runners.transport.crew import check_groups
from netspec.schedules import make_schedule
from netspec.spec.train_section import SHORT
from netspec.spec.types import Spec


class Network(NamedTuple):
    """A network that is ready to be trained, but for its parameters; ``start`` is another run that it starts from.

    ``constants`` are found out about the images of each input that has some, for ``begin``; there may be none.
    """

    settled: Settled
    data: Data
    session: Session
    start: Start | None
    constants: Mapping[str, ImageConstants]


class Share(NamedTuple):
    """Which batches a process takes part in, and whether it reads them: see netspec.runners.transport.crew."""

    group: int = 0
    groups: int = 1
    each: int = 1
    reads: bool = True


ALL = Share()


def part_of(spec: Spec, names: Sequence[str] | None, transport: Transport) -> Share:
    """The share of this process, with devices so named: it reads where one of its devices does.

    Raises NetspecError where the processes make no whole groups.
    """
    placed = place(spec.devices, names)
    check_groups(transport.size, placed.processes)
    group, own = divmod(transport.rank, placed.processes)
    readers = {part.device for part in outline(spec, "train").network.inputs()}
    mine = {device for device, rank in zip(spec.devices, placed.ranks, strict=True) if rank == own}
    reads = placed.processes == 1 or spec.data.resident is True or bool(mine & readers)
    return Share(group, transport.size // placed.processes, placed.processes, reads)


def open_network(
    request: Request,
    journal: Journal,
    stack: ExitStack,
    origin: Origin | None = None,
    trace: Trace | None = None,
    transport: Transport = ALONE,
    *,
    begins: bool = True,
) -> Network:
    """Open the images and the devices of a run, which ``stack`` closes, once all that is asked has been checked.

    ``begins``: ``begin`` will be called, for which the training images are read meanwhile. Raises NetspecError.
    """
    recorded, run = (origin.record.plugins, run_of(origin.folder or origin.path)) if origin else ((), None)
    changes = load_again(recorded, request.binding.plugins, journal.note, run)
    for note in installed_faults():
        journal.note(note)
    settled = settle(request, origin, changes)
    spec = settled.spec
    check_binding(spec, request.binding.names, request.binding.runner, request.binding.engine)
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
    part = part_of(spec, request.binding.names, transport)
    data = open_data(spec, opened.source, request.workers, journal, origin, part, request.binding.names)
    stack.enter_context(on_exit(data.close))
    constants = _constants(spec, data, request.workers, stack) if begins else {}
    _read_ahead(data, origin)
    session = stack.enter_context(_open_session(spec, request, trace, transport, data, journal, part))
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


def _read_ahead(data: Data, origin: Origin | None) -> None:
    """Have the first batches of the training, and of an evaluation, read while the devices are opened."""
    record = origin.record if origin else None
    data.train.epoch(*(record.epoch, record.position) if record else (0, 0))
    data.read_ahead()
    dismiss()


def _set_variables() -> list[str]:
    found = " ".join(f"{name}={value}" for name, value in choosing_variables().items())
    return [f"the environment chooses machine code: {found}"] if found else []


def open_data(
    spec: Spec,
    source: Dataset,
    workers: int | None,
    journal: Journal,
    origin: Origin | None,
    part: Share = ALL,
    names: Sequence[str] | None = None,
) -> Data:
    """Check that the images suit the network and, in a resumed run, are the same, and have them read.

    Where they will stay on the devices bound by ``names``, they are all decoded now.

    ``part`` is what this process reads. Raises SpecError for groups that cannot share the batch.
    """
    check_processes(spec, part.groups, part.each)
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
    held = held_images(spec, source, workers, journal.note, names) if part.reads else None
    pipelines = _pipelines(spec, source, workers, part, held)
    image = inputs_read(spec).image
    return Data(source, *pipelines, fingerprint, {image: held.images} if held and image else {})


def _pipelines(
    spec: Spec, source: Dataset, workers: int | None, share: Share, held: Held | None = None
) -> tuple[AnyPipeline, AnyPipeline | None]:
    """What batches to train and to validate with come from."""
    part = (share.group, share.groups)
    if not share.reads:
        val = Unread(source.val, spec.replica_batch, part[1], False) if source.val else None
        return Unread(source.train, spec.train.batch // part[1], part[1], True), val
    read, centre = inputs_read(spec), replace(spec.data, views=1)  # ten views an epoch would cost more than they tell
    rest = (read.shape, spec.train.seed, held or workers, read.more, part)
    make: Callable[..., Pipeline | ResidentPipeline] = ResidentPipeline if held else Pipeline
    train = make(source.train, centre, "train", spec.train.batch // part[1], *rest)
    train.tint_strength = make_schedule(spec.train.schedule).tint
    return train, make(source.val, centre, "val", spec.replica_batch, *rest) if source.val else None


def _open_session(
    spec: Spec, request: Request, trace: Trace | None, transport: Transport, data: Data, journal: Journal, part: Share
) -> Session:
    """The session, which then holds the images that are to stay on its devices, if the network leaves room for them."""
    binding = request.binding
    make = partial(
        Session, spec, binding.names, runner=binding.runner, seed=spec.train.seed, engine=binding.engine
    )
    try:
        session = make(trace=trace, transport=transport, resident=data.held)
    except NoRoomError:
        if not data.held or spec.data.resident is True:
            raise
        journal.note("data: workers make the batches: the network and its images do not fit in the devices' memory")
        data.close()
        data.train, data.val = _pipelines(spec, data.source, request.workers, part)
        session = make(trace=trace, transport=transport)
    data.held = {}
    return session


def begun(network: Network) -> dict[str, Any]:
    """What is found out about the run's own images, and what it starts from, beside what initialisers gave."""
    given = dict(network.start.tensors) if network.start else {}
    for name, constants in network.constants.items():
        given = {f"{name}.{one}": values for one, values in constants.found().items()} | given
    return given


def begin(session: Session, given: Tensors) -> None:
    """Load that."""
    session.store.load({**given, **_averages(session, given)}, strict=False)


def go_on(session: Session, origin: Origin, tensors: Tensors, journal: Journal) -> None:
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
