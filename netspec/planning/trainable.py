"""Whether a spec can be trained: all that ``validate`` and ``run`` ask of it beyond its text, in one list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from netspec.contract.kernel import PHASES
from netspec.errors import Mark, Problem, SpecError
from netspec.planning.build import build
from netspec.planning.plan import Plan
from netspec.schedules import schedule_types
from netspec.spec.patterns import matches
from netspec.spec.train_section import patterns_of
from netspec.spec.types import Spec

CHANNELS = (1, 3)
"""What images are decoded to: grey or RGB."""


class Images(NamedTuple):
    """How many images a run has to train and to validate with, and of how many classes."""

    train: int
    val: int
    classes: int
    where: str


def check(spec: Spec) -> tuple[str, ...]:
    """Plan all phases and ask what training needs; gives remarks that are no errors.

    What images are there is asked where the spec alone says so. Raises SpecError with every problem.
    """
    problems: list[Problem] = []
    outputs = None
    for phase in PHASES:
        try:
            plan = build(spec, phase, races=False)
        except SpecError as error:
            problems += error.problems
            continue
        outputs = count_outputs(plan) if phase == "predict" else outputs
        problems += _parameters(spec, plan) if phase == "train" else ()
    problems += _inputs(spec)
    drawn = drawn_images(spec)
    unsuited = list(problems_with(spec, drawn, outputs)) if drawn else []
    if "data.source" in spec.marks:
        problems += unsuited
    if problems:
        raise SpecError(sorted(dict.fromkeys(problems), key=_place))
    remarks = [f"without --data: {problem.message}" for problem in unsuited]
    if spec.train.init_from is not None and spec.train.init_from.path is None:
        remarks.append("without --init-from: every layer starts from its initialiser")
    return tuple(remarks)


def problems_with(spec: Spec, images: Images, outputs: int | None) -> Iterator[Problem]:
    """What does not fit in so many images and classes; ``outputs`` is None where the network does not say."""
    if images.train < spec.train.batch:
        message = f"{images.train:,} training images do not fill a batch of {spec.train.batch:,}"
        yield Problem(_mark(spec, "train.batch"), message, "lower train.batch")
    if outputs is not None and images.classes > outputs:
        message = f"the data has {images.classes:,} classes, but the network has {outputs:,} outputs"
        remedy = f"give its last layer {images.classes:,} units, or leave classes out of {images.where}"
        yield Problem(_mark(spec, "data.source"), message, remedy)
    kind = spec.train.schedule["type"]
    if not images.val and schedule_types()[kind].needs_validation:
        message = f"'{kind}' follows the validation error, and there are no validation images"
        yield Problem(_mark(spec, "train.schedule"), message, "add some, or choose another schedule, such as constant")


def drawn_images(spec: Spec) -> Images | None:
    """The images of a source that draws them; None where they must be looked for."""
    from netspec.data.sources import source_types

    counts = source_types()[spec.data.source["type"]].counts(spec.data.source)
    return None if counts is None else Images(*counts, spec.data.source["type"])


def count_outputs(plan: Plan) -> int | None:
    """How many classes the network tells apart, from its plan for prediction; None where it gives no such scores."""
    shape = plan.buffers[plan.probs].shape if plan.probs else ()
    return shape[-1] if len(shape) == 2 else None


def input_names(spec: Spec) -> tuple[str, str]:
    """The network inputs that take images and labels. Raises SpecError where there are not one of each."""
    if problems := list(_inputs(spec)):
        raise SpecError(problems)
    return _candidates(spec)[0][0], _candidates(spec)[1][0]


def _candidates(spec: Spec) -> tuple[list[str], list[str]]:
    """Inputs that can take images, and such that can take labels."""
    images = [name for name, one in spec.inputs.items() if len(one.shape) == 3 and one.dtype == "float32"]
    labels = [name for name, one in spec.inputs.items() if not one.shape and one.dtype == "int32"]
    return images, labels


def _inputs(spec: Spec) -> Iterator[Problem]:
    images, labels = _candidates(spec)
    if len(images) != 1 or len(labels) != 1 or len(spec.inputs) != 2:
        found = ", ".join(f"{name} {list(one.shape)} {one.dtype}" for name, one in spec.inputs.items())
        needed = "training takes an image of shape [height, width, channels] in float32 and a label in int32"
        yield Problem(_mark(spec, "inputs"), f"{needed}; there are: {found}", "as in alexnet.yaml")
        return
    height, width, channels = spec.inputs[images[0]].shape
    if channels not in CHANNELS:
        message = f"images have 1 or 3 channels, and '{images[0]}' asks for {channels}"
        yield Problem(_mark(spec, f"inputs.{images[0]}.shape", "inputs"), message)
    if spec.data.crop is not None and not height == width == spec.data.crop:
        message = f"'data.crop' is {spec.data.crop}, but the network's input is {height} x {width}"
        yield Problem(_mark(spec, "data.crop"), message, "set it to that, or leave it out")


def _parameters(spec: Spec, plan: Plan) -> Iterator[Problem]:
    """Patterns that name no parameter, and a network of which nothing is trained."""
    names = [(key.of.layer or "", key.of.tensor) for key in plan.keys("parameter")]
    layers = ", ".join(dict.fromkeys(layer for layer, _ in names))
    for path, pattern in patterns_of(spec.train):
        if not any(matches(pattern, *name) for name in names):
            yield Problem(_mark(spec, path), f"'{pattern}' names no parameter", f"layers that have some: {layers}")
    if names and not any(step.op == "update" for step in plan.steps):
        yield Problem(_mark(spec, "train.freeze"), "every parameter is frozen: there is nothing to train")


def _mark(spec: Spec, *paths: str) -> Mark:
    """Where the first of the paths, or what it lies in, is written; the spec's beginning where nothing of it is."""
    for path in paths:
        while path:
            if path in spec.marks:
                return spec.marks[path]
            path = path.rpartition(".")[0]
    return spec.mark


def _place(problem: Problem) -> tuple[str, int, int]:
    mark = problem.mark
    return (mark.file, mark.line, mark.column) if mark else ("", 0, 0)
