"""The section ``train``: the update, the schedule, what is frozen, averaged, or taken from another run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from netspec.contract.attrs import boolean, choice, integer, mapping, number, path, texts
from netspec.errors import Mark
from netspec.metrics import metric_types
from netspec.schedules import make_schedule, schedule_types
from netspec.solvers import solver_types
from netspec.spec.fields import Attrs, Fields, complete
from netspec.spec.nodes import Entry, List, Map, Node, Scalar, plain
from netspec.spec.patterns import unknown
from netspec.spec.problems import Report
from netspec.spec.sections import absolute
from netspec.spec.types import (
    PRECISIONS,
    SCALE_RULES,
    CpuSpec,
    EmaSpec,
    InitSpec,
    LayerSpec,
    ScaleSpec,
    StopSpec,
    TrainSpec,
)
from netspec.spec.wording import meant, show

_train, _cpu, _ema, _stop = TrainSpec(), CpuSpec(), EmaSpec(), StopSpec()

TRAIN: Attrs = {
    "batch": integer("Images an iteration, over all devices.", default=_train.batch, minimum=1),
    "epochs": integer("Passes over the training images.", default=_train.epochs, minimum=1),
    "iterations": integer("Stop after that many iterations; null: after the epochs.", default=None, minimum=1),
    "seed": integer("Decides everything that is random.", default=_train.seed, minimum=0),
    "precision": choice(*PRECISIONS, default=_train.precision, description=(
        "Factors of matrix products on GPUs have 23 bits of mantissa, 10 or 7; with bf16 GPUs of compute capability "
        "8.0 and on, and CPUs that multiply it faster, store activations in it too. Other CPUs compute in float32.")),
    "fuse": boolean("Elementwise layers run in the step before, where they can.", default=_train.fuse),
    "freeze": texts("Layers, or parameters such as conv1.weight, that stay as they are; * stands for any letters.",
                    default=[]),
    "clip_norm": number("The most that the norm of the whole gradient may be: a larger one is scaled down to it; null: "
                        "as it is.", default=None, above=0),
}  # fmt: skip
METRICS = "What is measured in validation; the best checkpoint, plateau and early_stopping go by the first."
_TYPED = ("solver", "schedule", "metrics")
SHORT = "sgd"
"""The solver that is meant where none is named, and that has a key of its own."""
CPU: Attrs = {
    "winograd": boolean("Convolutions by Winograd's algorithm, where that pays.", default=_cpu.winograd),
}
CUDA: Attrs = {
    "precision": choice(*PRECISIONS, default=None, description="The same as train.precision."),
}
EMA: Attrs = {
    "decay": number("Share of the average that is kept at each update.", default=_ema.decay, above=0, below=1),
    "warmup": boolean("A smaller decay at first: (1 + n) / (10 + n) after n updates, while that is less.",
                      default=_ema.warmup),
    "evaluate": boolean("Evaluate and predict with the averages.", default=_ema.evaluate),
}  # fmt: skip
STOP: Attrs = {
    "patience": integer("Epochs without a better validation error before the run ends.", default=_stop.patience,
                        minimum=1),
    "min_delta": number("By how much an error must be better to count.", default=_stop.min_delta, minimum=0),
}  # fmt: skip
SCALE: Attrs = {
    "base": integer("The batch whose learning rate the solver has.", minimum=1),
    "rule": choice(*SCALE_RULES, default="linear", description=(
        "A batch k times as large has k times the learning rate, or sqrt(k) times.")),
    "warmup": number("Epochs, or parts of one, in which the rate rises to that from the solver's own.", default=0.0,
                     minimum=0),
}  # fmt: skip
INIT_FROM: Attrs = {
    "path": path("A run, of which the best checkpoint is taken, or a checkpoint file; null: --init-from names it.",
                 default=None),
    "layers": mapping(choice("keep", "new"), default={}, description=(
        "By layer or parameter: keep, it must be there with this shape; new, it begins by its initialiser. The others "
        "are taken where they are there with this shape.")),
}
PARTS: Mapping[str, Attrs] = {
    "cpu": CPU, "cuda": CUDA, "scale": SCALE, "ema": EMA, "early_stopping": STOP, "init_from": INIT_FROM,
}  # fmt: skip
OPTIONAL = ("scale", "ema", "early_stopping", "init_from")
"""Parts that are null unless they are written."""


def read_train(node: Map, report: Report) -> tuple[TrainSpec, dict[str, Mark]]:
    """The ``train`` section."""
    fields = Fields(report)
    fields.refuse_unknown(node, [*TRAIN, *PARTS, SHORT, *_TYPED], "train")
    values = fields.read(node.without(*PARTS, SHORT, *_TYPED), TRAIN, "train")
    values["solver"] = _solver(node, fields)
    values["cpu"] = CpuSpec(**(_part(node, "cpu", fields) or {}))
    _refuse_second_precision(node, fields)
    scale, ema, stop, start = (_part(node, key, fields) for key in OPTIONAL)
    values["scale"] = ScaleSpec(**scale) if scale and "base" in scale else None
    values["ema"] = None if ema is None else EmaSpec(**ema)
    values["early_stopping"] = None if stop is None else StopSpec(**stop)
    values["init_from"] = None if start is None else InitSpec(**start)
    values["schedule"] = _schedule(node, fields)
    _refuse_second_warmup(values["schedule"], values["scale"], fields)
    values["metrics"] = _metrics(node, fields)
    return TrainSpec(**values), fields.marks


def expand_precision(root: Map) -> Map:
    """``cuda: {precision: bf16}`` is another way to write ``precision: bf16``; both may say the same."""
    train, cuda = root.get("train"), None
    if isinstance(train, Map):
        cuda = train.get("cuda")
    if not isinstance(train, Map) or not isinstance(cuda, Map) or not _is_precision(cuda.get("precision")):
        return root
    entry, other = cuda.entries["precision"], train.get("precision")
    if other is not None and plain(other) != plain(entry.value):
        return root
    rest = cuda.without("precision")
    found = train.without("cuda").replace({"precision": entry} if other is None else {})
    if rest.entries:
        found = found.replace({"cuda": Entry(train.entries["cuda"].mark, rest)})
    return root.replace({"train": Entry(root.entries["train"].mark, found)})


def _is_precision(node: Any) -> bool:
    return isinstance(node, Scalar) and node.value in PRECISIONS


def _refuse_second_precision(node: Map, fields: Fields) -> None:
    """Tell of what could not be written out, see expand_precision: a word that is none, or two that differ."""
    before, second = len(fields.report.problems), (_part(node, "cuda", fields) or {}).get("precision")
    first = node.get("precision")
    if second is None or first is None or len(fields.report.problems) > before:
        return
    told = f"'train.cuda.precision' is {show(second)}, but 'train.precision' is {show(plain(first))}"
    fields.note(fields.marks["train.cuda.precision"], f"{told}: they mean the same", "leave train.cuda.precision out")


def _refuse_second_warmup(schedule: Mapping[str, Any], scale: ScaleSpec | None, fields: Fields) -> None:
    if schedule and scale and scale.warmup and make_schedule(schedule).warms_up:
        message = f"'train.scale.warmup' and the schedule '{schedule['type']}' both raise the learning rate at first"
        fields.note(fields.marks["train.scale.warmup"], message, "leave one of them out")


def _part(node: Map, key: str, fields: Fields) -> dict[str, Any] | None:
    """The values of a map in ``train``; None where it is no map, or an optional one is null or not written."""
    written, section = node.get(key), f"train.{key}"
    absent = written is None or (isinstance(written, Scalar) and written.value is None)
    if absent and key in OPTIONAL:
        return None
    part = Map({}, node.mark) if written is None else fields.as_map(written, section)
    if part is None:
        return None
    if written is not None:
        fields.marks[section] = node.entries[key].mark
    fields.refuse_unknown(part, PARTS[key], section)
    return fields.read(part, PARTS[key], section)


def _solver(node: Map, fields: Fields) -> dict[str, Any]:
    """The solver, SGD where no type is written."""
    if SHORT in node.entries:  # what could not be written out, see expand_solver
        entry, message = node.entries[SHORT], f"'train.{SHORT}' and 'train.solver' both say what the solver is"
        if fields.as_map(entry.value, f"train.{SHORT}"):
            fields.note(entry.mark, message, "leave one of them out")
    written, unsaid = node.get("solver"), False
    if isinstance(written, Map) and "type" not in written.entries:
        written, unsaid = _of_type(SHORT, written, written.mark), True
    if written is None:
        return complete(_train.solver, solver_types())
    found = fields.typed(written, solver_types(), "solver", "train.solver")
    if unsaid:
        fields.marks.pop("train.solver.type", None)
    return found or complete(_train.solver, solver_types())


def _of_type(name: str, body: Map, mark: Mark) -> Map:
    return Map({"type": Entry(mark, Scalar(name, name, mark)), **body.entries}, body.mark)


def expand_solver(root: Map) -> Map:
    """``sgd: {...}`` is short for ``solver: {type: sgd, ...}``, ``solver: adamw`` for ``solver: {type: adamw}``."""
    train = root.get("train")
    if not isinstance(train, Map):
        return root
    solver, short = train.entries.get("solver"), train.entries.get(SHORT)
    if solver is None and short is not None and isinstance(short.value, Map):
        long = Entry(short.mark, _of_type(SHORT, short.value, short.mark))
        train = train.without(SHORT).replace({"solver": long})
    elif solver is not None and isinstance(solver.value, Scalar) and isinstance(solver.value.value, str):
        mark = solver.value.mark
        train = train.replace({"solver": Entry(solver.mark, Map({"type": Entry(mark, solver.value)}, mark))})
    return root.replace({"train": Entry(root.entries["train"].mark, train)})


def _schedule(node: Map, fields: Fields) -> dict[str, Any]:
    written, types = node.get("schedule"), schedule_types()
    if written is None:
        return complete(_train.schedule, types)
    before = len(fields.report.problems)
    found = fields.typed(written, types, "schedule", "train.schedule") or {}
    if len(fields.report.problems) == before:
        for at, message, remedy in make_schedule(found).faults():
            fields.note(fields.marks[f"train.schedule.{at}"], message, remedy)
    return found if len(fields.report.problems) == before else {}


def _metrics(node: Map, fields: Fields) -> tuple[dict[str, Any], ...]:
    """Each as ``{type: ..., ...}``; a name alone is the type of one with no settings of its own."""
    written, found = node.get("metrics"), dict[str, dict[str, Any]]()
    if written is None:
        return ()
    if not isinstance(written, List):
        remedy = f"as in [{next(iter(metric_types()))}]"
        fields.note(written.mark, f"'train.metrics' must be a list, got {show(plain(written))}", remedy)
        return ()
    fields.marks["train.metrics"] = written.mark
    for place, one in enumerate(written.items):
        typed = fields.typed(_with_type(one), metric_types(), "metric", f"train.metrics.{place}")
        if typed is not None and typed["type"] in found:
            fields.note(one.mark, f"the metric '{typed['type']}' is listed twice", "leave one of them out")
        elif typed is not None:
            found[typed["type"]] = typed
    return tuple(found.values())


def _with_type(node: Node) -> Node:
    is_name = isinstance(node, Scalar) and isinstance(node.value, str)
    return Map({"type": Entry(node.mark, node)}, node.mark) if is_name else node


def check_patterns(train: TrainSpec, layers: Iterable[LayerSpec], marks: Mapping[str, Mark], report: Report) -> None:
    """Tell of patterns that name no layer."""
    names = [layer.name for layer in layers]
    for where, pattern in patterns_of(train):
        if unknown(pattern, names):
            name = pattern.partition(".")[0]
            use = report.uses.get(name)
            remedy = f"it uses a block, whose layers are {', '.join(use.layers)}" if use else meant(name, names)
            report.note(marks[where], f"no layer is called '{pattern}'", remedy)


def patterns_of(train: TrainSpec) -> list[tuple[str, str]]:
    """All patterns of layers and parameters, each with the path of its mark."""
    found = [("train.freeze", pattern) for pattern in train.freeze]
    if train.schedule:
        found += [(f"train.schedule.{at}", pattern) for at, pattern in make_schedule(train.schedule).patterns()]
    if train.init_from:
        found += [(f"train.init_from.layers.{pattern}", pattern) for pattern in train.init_from.layers]
    return found


def expand_init_from(root: Map) -> Map:
    """``init_from: RUN`` is short for ``init_from: {path: RUN}``."""
    train, start = _init_from(root)
    if train is None or not isinstance(start, Scalar) or not isinstance(start.value, str):
        return root
    return _with_init_from(root, train, Map({"path": Entry(start.mark, start)}, start.mark))


def anchor_init_from(root: Map, folder: Path) -> Map:
    """The tree with the path of ``init_from`` made absolute: it is relative to the ``folder`` of the spec."""
    train, start = _init_from(root)
    if train is None or not isinstance(start, Map) or "path" not in start.entries:
        return root
    entry = start.entries["path"]
    found = start.replace({"path": Entry(entry.mark, absolute(entry.value, folder))})
    return _with_init_from(root, train, found)


def _init_from(root: Map) -> tuple[Map | None, Any]:
    train = root.get("train")
    return (train, train.get("init_from")) if isinstance(train, Map) else (None, None)


def _with_init_from(root: Map, train: Map, value: Map) -> Map:
    train = train.replace({"init_from": Entry(train.entries["init_from"].mark, value)})
    return root.replace({"train": Entry(root.entries["train"].mark, train)})
