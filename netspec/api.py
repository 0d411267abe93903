"""Train, evaluate, predict, look at features: the functions that the command line and a notebook call.

Each that takes long shows its progress where Python runs in a terminal (on stderr) or in a notebook, unless it is given
a ``listener``; ``progress`` says so otherwise: True, also as lines to a file or a pipe, or False.

The module is called ``api`` since a module ``netspec.run`` would hide the function ``netspec.run``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from netspec._run import Run
from netspec._types import AnyImage, AnyPath, Binding, Prediction, Trial, Tuned
from netspec.errors import NetspecError
from netspec.events import Listener, Note

LEAST_RATES = 20
"""Batches that a range test needs to tell anything."""

if TYPE_CHECKING:
    from netspec.contract.kernel import Phase
    from netspec.evaluation.evaluation_result import Evaluation
    from netspec.evaluation.feature_set import Features
    from netspec.planning.plan import Plan
    from netspec.report.rate_range import RateRange
    from netspec.runners.inference import Predictor
    from netspec.spec.types import Spec


def load(
    path_or_name: str | Path, overrides: str | Sequence[str] = (), *, plugins: Sequence[str | Path] = ()
) -> Spec:
    """The Spec of a YAML file, or of a shipped spec by its bare name, with changes such as ``train.batch=64``.

    ``plugins`` are files or folders with layers that it names. Raises SpecError with all that is wrong, by line;
    NetspecError where a file cannot be found or read.
    """
    from netspec.registry import load_plugin
    from netspec.spec import load

    for plugin in plugins:
        load_plugin(plugin)
    return load(path_or_name, overrides)


def plan(spec: Spec | str | Path, phase: Phase = "train", batch: int | None = None) -> Plan:
    """Resolve a spec (a Spec, a path, or the name of a shipped one) for a phase and a batch (default: the spec's own).

    Raises SpecError with every problem that shapes, placement and connections show, NetspecError for no phase.
    """
    from netspec.contract.kernel import PHASES
    from netspec.planning import build
    from netspec.spec import load
    from netspec.spec.types import Spec

    if phase not in PHASES:
        raise NetspecError(f"there is no '{phase}': one of {', '.join(PHASES)}")
    return build(spec if isinstance(spec, Spec) else load(spec), phase, batch)


def run(
    spec: Spec | str | Path | None,
    *,
    data: str | Path | None = None,
    devices: Sequence[str] | str | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    seed: int | None = None,
    batch: int | None = None,
    overrides: str | Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    out: str | Path = "runs",
    resume: AnyPath | None = None,
    runner: str = "local",
    trace: str | Path | None = None,
    workers: int | None = None,
    tensorboard: bool = False,
    log: str | Sequence[str | Mapping[str, object]] = (),
    checkpoint_every: float = 600.0,
    init_from: AnyPath | None = None,
    tags: Sequence[str] = (),
    note: str | None = None,
    listener: Listener | None = None,
    progress: bool | None = None,
    engine: str = "mpi",
) -> Run:
    """Train a spec (a path, the name of a shipped one, or a Spec) in a new run directory ``out/<name>/<time>/``.

    ``resume`` takes up a run directory, a checkpoint file, or the run of that spec that began last ("latest");
    ``spec`` may then be None. ``init_from`` names the run or checkpoint whose parameters a new run starts from, in
    place of ``train.init_from``. ``overrides`` are texts such as ``train.solver.momentum=0.8``. ``checkpoint_every``
    is in seconds; an epoch's end has a checkpoint besides. ``log`` names callbacks that hear the run, or has each as a
    map with its ``type`` and settings; ``tensorboard`` is short for the one that writes event files. ``trace`` is for
    at most 200,000 spans. ``engine`` is by what several processes exchange: mpi, or nccl from GPU to GPU. ``tags`` are
    added to those of a resumed run, ``note`` replaces its note; ``netspec runs`` shows them. ``listener`` hears the
    events in order, on a thread of its own: each before training goes on, unless it takes more than 10 seconds. It ends
    the run by raising NetspecError; where it raises anything else it is told no more, with a RuntimeWarning at the end.
    SIGINT, SIGTERM and SIGHUP end the iteration, save and return; one that is ignored stays so. Raises NetspecError for
    whatever a user can mend.
    """
    from netspec.report.progress import heard
    from netspec.runners.training.launch import launch
    from netspec.runners.training.request import Request

    request = Request(
        spec=spec,
        data=data,
        sets=_sets(overrides, epochs=epochs, iterations=iterations, seed=seed, batch=batch),
        binding=Binding(devices, runner, tuple(plugins), engine),
        out=Path(out),
        resume=None if resume is None else os.fspath(resume),
        trace=None if trace is None else Path(trace),
        workers=workers,
        log=(*([log] if isinstance(log, str) else log), *(["tensorboard"] if tensorboard else ())),
        checkpoint_every=checkpoint_every,
        init_from=None if init_from is None else os.fspath(init_from),
        tags=(tags,) if isinstance(tags, str) else tags,
        note=note,
    )
    with heard(listener, progress) as hear:
        return Run.of(launch(request, hear))


def sweep(
    specs: Sequence[Spec | str | Path],
    *,
    seeds: Sequence[int] = (),
    vary: Mapping[str, Sequence[Any]] | None = None,
    data: str | Path | None = None,
    devices: Sequence[str] | str | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    batch: int | None = None,
    overrides: str | Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    out: str | Path = "runs",
    init_from: AnyPath | None = None,
    tags: Sequence[str] = (),
    note: str | None = None,
    runner: str = "local",
    workers: int | None = None,
    listener: Listener | None = None,
    progress: bool | None = None,
) -> list[Trial]:
    """Train each spec with each choice of the values in ``vary`` (by path, as in ``--set``) and each seed, in turn.

    Each is an ordinary run below ``out``. Runs that lie there already and were asked for the same are not trained again
    if they are finished, and resumed if they are not. A run that fails does not stop the others; an interrupt ends
    the sweep, whose last trial then has an ``exit_code``. Every run of it gets the ``tags`` and the ``note``. Raises
    SpecError, before anything is trained, where a spec is wrong.
    """
    import json

    from netspec.report.progress import heard
    from netspec.runners.sweep import plan_sweep, train
    from netspec.runners.training.request import Request

    request = Request(
        spec=None,
        data=data,
        sets=_sets(overrides, epochs=epochs, iterations=iterations, batch=batch),
        binding=Binding(devices, runner, tuple(plugins)),
        out=Path(out),
        workers=workers,
        init_from=None if init_from is None else os.fspath(init_from),
        tags=(tags,) if isinstance(tags, str) else tags,
        note=note,
    )
    texts = {path: [json.dumps(value) for value in values] for path, values in (vary or {}).items()}
    planned, done = plan_sweep(specs, request, seeds, texts), list[Trial]()
    with heard(listener, progress) as hear:
        for number, one in enumerate(planned, 1):
            if hear is not None:
                hear(Note(f"run {number} of {len(planned)}: {one.trial.label}"))
            done.append(train(one, hear))
            if done[-1].exit_code:
                break
    return done


def lr_find(
    spec: Spec | str | Path,
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    iterations: int = 100,
    data: str | Path | None = None,
    devices: Sequence[str] | str | None = None,
    seed: int | None = None,
    batch: int | None = None,
    overrides: str | Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    init_from: AnyPath | None = None,
    runner: str = "local",
    workers: int | None = None,
    listener: Listener | None = None,
    progress: bool | None = None,
) -> RateRange:
    """The learning-rate range test (Smith 2017): train at rates that rise evenly, in the logarithm, batch by batch.

    It ends after so many ``iterations``, or where the loss diverges; ``suggestion`` of what comes back is the rate at
    which the loss falls most steeply, or None. The spec's rate and schedule do not count. No run directory is made, and
    nothing that has been trained is kept. Raises NetspecError.
    """
    from netspec.report.progress import heard
    from netspec.runners.lr_find import Ramp, find_rates
    from netspec.runners.training.request import Request

    if not 0 < lowest < highest or iterations < LEAST_RATES:
        raise NetspecError(f"rates must rise from above 0, over {LEAST_RATES} iterations or more")
    request = Request(
        spec=spec,
        data=data,
        sets=_sets(overrides, seed=seed, batch=batch),
        binding=Binding(devices, runner, tuple(plugins)),
        workers=workers,
        init_from=None if init_from is None else os.fspath(init_from),
    )
    with heard(listener, progress) as hear:
        return find_rates(request, Ramp(lowest, highest, iterations), hear)


def evaluate(
    run_or_checkpoint: AnyPath | Sequence[AnyPath],
    *,
    data: str | Path | None = None,
    devices: Sequence[str] | str | None = None,
    split: Literal["train", "val"] = "val",
    views: int | None = None,
    batch: int | None = None,
    plugins: Sequence[str | Path] = (),
    runner: str = "local",
    workers: int | None = None,
    top: int = 5,
    probabilities: bool = False,
    metrics: Sequence[str | Mapping[str, object]] = (),
    listener: Listener | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Loss and errors of a checkpoint, or of a run's best that is whole and finite, over a split, each image once.

    Of several runs the probabilities are averaged (paper, section 6.1) and each is evaluated alone too. They may differ
    in all but their classes, which are matched by name; all see the images that are named, or else the first one's.

    ``data`` replaces the images that the run was trained with; their classes must be among the run's. ``views`` is 1
    for the centre crop, as after each epoch of a run, 2 for that and its mirror image, 10 for the paper's ten (None: as
    the spec says). Images that cannot be read are left out, and ``broken`` of the result counts them. Plugins that the
    run was made with are loaded again while they are unchanged.

    ``results`` of what comes back are the single images: label, rank of the label, loss, the ``top`` likeliest classes,
    and with ``probabilities`` those of all classes. ``metrics`` are measured beside those of the spec: each by its
    name, or as a map with its ``type`` and settings; ``errors`` of what comes back has them all.

    Raises NetspecError, also where the loss is not finite, no image can be read or classes differ.
    """
    from netspec.report.progress import heard
    from netspec.runners.scoring import evaluate_networks
    from netspec.runners.streaming import Asked

    binding = Binding(devices, runner, tuple(plugins))
    asked = Asked(binding, data, split, views, batch, workers, top, probabilities, tuple(metrics))
    with heard(listener, progress) as hear:
        return evaluate_networks(_paths(run_or_checkpoint), asked, hear)


def features(
    run_or_checkpoint: AnyPath,
    *,
    layer: str | None = None,
    data: str | Path | None = None,
    devices: Sequence[str] | str | None = None,
    split: Literal["train", "val"] = "val",
    batch: int | None = None,
    plugins: Sequence[str | Path] = (),
    runner: str = "local",
    workers: int | None = None,
    listener: Listener | None = None,
    progress: bool | None = None,
) -> Features:
    """A layer's activations for the centre crops of a split, both devices' parts joined in order.

    ``layer`` is a layer's name; None stands for what the last layer with parameters before the network's answer reads,
    the last hidden layer: in AlexNet 4096 numbers (paper, section 6.1). Images are as for ``evaluate``. All features
    are held: 4 bytes each; ``netspec features`` streams them to a file. Raises NetspecError.
    """
    from netspec.report.progress import heard
    from netspec.runners.features import compute_features
    from netspec.runners.streaming import Asked

    asked = Asked(Binding(devices, runner, tuple(plugins)), data, split, 1, batch, workers)
    with heard(listener, progress) as hear:
        return compute_features(Path(run_or_checkpoint), layer, asked, hear)


def predict(
    run_or_checkpoint: AnyPath,
    images: AnyImage | Iterable[AnyImage],
    *,
    devices: Sequence[str] | str | None = None,
    top: int = 5,
    batch: int | None = None,
    plugins: Sequence[str | Path] = (),
    runner: str = "local",
    listener: Listener | None = None,
    progress: bool | None = None,
) -> list[Prediction]:
    """The ``top`` classes of each image (a path, a PIL image, or a uint8 array of (H, W) or (H, W, 3)), in order.

    ``images`` is a list of them; a path or a PIL image may stand alone. A folder stands for the images in it, at any
    depth and in the order of their names, a pattern such as ``photos/*.jpg`` for the files that match. Of a run's
    checkpoints the best one that is whole and finite is taken.

    Images are resized and cropped at the centre as in evaluation; one that cannot be read, or whose probabilities are
    not finite, has its ``error`` set. ``listener`` hears what is odd about the run, such as a plugin that has changed.
    To ask a network more than once, open it once: ``predictor``. Raises NetspecError.
    """
    from netspec.report.progress import heard
    from netspec.runners.inference import Predictor

    binding = Binding(devices, runner, tuple(plugins))
    with heard(listener, progress) as hear, Predictor(Path(run_or_checkpoint), binding, batch, hear, False) as opened:
        return opened.predict(images, top)


def predictor(
    run_or_checkpoint: AnyPath,
    *,
    devices: Sequence[str] | str | None = None,
    batch: int | None = None,
    plugins: Sequence[str | Path] = (),
    runner: str = "local",
    listener: Listener | None = None,
    progress: bool | None = None,
) -> Predictor:
    """Open a trained network to ask it again and again: ``predictor(run)(images)`` gives its probabilities.

    ``batch`` is the most images that are worked on at once (None: 32). The run and the rest are as for ``predict``.
    Raises NetspecError.
    """
    from netspec.runners.inference import Predictor

    binding = Binding(devices, runner, tuple(plugins))
    return Predictor(Path(run_or_checkpoint), binding, batch, listener, progress)


def tune(
    spec: Spec | str | Path,
    *,
    devices: Sequence[str] | str | None = None,
    phases: Sequence[Phase] = ("train",),
    batch: int | None = None,
    overrides: str | Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    tell: Callable[[Tuned], None] | None = None,
    progress: bool | None = None,
) -> list[Tuned]:
    """Time every variant of kernels that can run the spec's layers on these devices, and keep the fastest right one.

    From then on programs for devices of that model take the kept ones. ``tell`` hears of each as it is found. Raises
    NetspecError.
    """
    from netspec.registry import load_plugin
    from netspec.report.progress import heard
    from netspec.runners.training.request import load_spec
    from netspec.runners.tune import tune

    for plugin in plugins:
        load_plugin(plugin)
    with heard(None, progress):
        return tune(load_spec(spec, _sets(overrides, batch=batch)), Binding(devices), phases, tell)


def _paths(given: AnyPath | Sequence[AnyPath]) -> list[Path]:
    return [Path(given)] if isinstance(given, str | os.PathLike) else [Path(path) for path in given]


def _sets(overrides: str | Sequence[str], **options: int | None) -> tuple[str, ...]:
    """All changes of values as texts of ``--set``, the short options last."""
    written = (overrides,) if isinstance(overrides, str) else overrides
    return (*written, *(f"train.{name}={value}" for name, value in options.items() if value is not None))
