"""Whether a spec can be trained: all that ``validate`` and ``run`` ask of it beyond its text, in one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netspec.contract.kernel import PHASES
from netspec.contract.tensor import Tensor
from netspec.data.augment import mix_of, tint_of
from netspec.data.held_out import held_count
from netspec.data.known_sources import source_types
from netspec.data.settings import More
from netspec.data.source import ArrayKind
from netspec.errors import Mark, NetspecError, Problem, SpecError
from netspec.planning.build import NUMBERS, answer_of, outline
from netspec.planning.builder import Builder
from netspec.planning.identities import BufferKey
from netspec.planning.measured import metric_problems, truth_of
from netspec.planning.network import Network, label_of
from netspec.planning.plan import Buffer, MakeLayer, Plan, make_once
from netspec.planning.residency import obstacles
from netspec.registry import layer_types
from netspec.schedules import schedule_types
from netspec.spec.patterns import matches
from netspec.spec.train_section import patterns_of
from netspec.spec.types import Spec
from netspec.units import many

CHANNELS = (1, 3)
"""What images are decoded to: grey or RGB."""


class Images(NamedTuple):
    """How many images a run has to train and to validate with, and of how many classes or with how many numbers."""

    train: int
    val: int
    classes: int
    where: str
    arrays: Mapping[str, ArrayKind] | None = None
    numbers: int | None = None


def check(spec: Spec, make: MakeLayer | None = None) -> tuple[str, ...]:
    """Plan all phases and ask what training needs; gives remarks that are no errors.

    ``make``: what makes the layers of several specs, each once, see ``make_once``; by default those of this one.
    What images are there is asked where the spec alone says so. Raises SpecError with every problem.
    """
    problems: list[Problem] = []
    outputs = None
    seen, make = False, make or make_once()
    for phase in PHASES:
        try:
            builder = outline(spec, phase, not seen, make)
        except SpecError as error:
            told = {problem.mark for problem in problems}
            problems += [problem for problem in error.problems if problem.mark not in told]
            continue
        seen = True
        answer = answer_of(builder.network)
        outputs = _classes_in(_tensors(builder.network), answer) if phase == "predict" else outputs
        problems += metric_problems(spec, answer) if phase == "eval" else ()
        problems += _parameters(spec, builder) if phase == "train" else ()
    problems += _inputs(spec)
    problems += obstacles(spec, roles(spec).images) if spec.data.resident is True else ()
    drawn = drawn_images(spec)
    pictures = () if _named(spec) else _what_source_has(spec)
    unsuited = list(problems_with(spec, drawn, outputs) if drawn else pictures)
    if "data.source" in spec.marks:
        problems += unsuited
    if problems:
        raise SpecError(sorted(dict.fromkeys(problems), key=_place))
    remarks = [f"without --data: {problem.message}" for problem in unsuited]
    remarks += _of_replicas(spec)
    if spec.train.scale is not None:
        remarks.append(spec.train.scaled_rate)
    if _numbers(spec) is not None and spec.data.mirror:
        remarks.append("images are mirrored, and their numbers stay as they are")
    if spec.train.init_from is not None and spec.train.init_from.path is None:
        remarks.append("without --init-from: every layer starts from its initialiser")
    return tuple(remarks)


def _of_replicas(spec: Spec) -> Iterator[str]:
    """What replicas have of their own, where others would be meant by a batch."""
    words = {layer.name: layer_types()[layer.type].over_images for layer in spec.layers}
    for what in dict.fromkeys(filter(None, words.values())) if spec.replicas > 1 else ():
        names = [name for name, own in words.items() if own == what]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield (
            f"{', '.join(names[:3])}{more}: {what} are those of each replica's {many(spec.replica_batch, 'image')}, "
            f"not of all {spec.train.batch:,}"
        )


def problems_with(spec: Spec, images: Images, outputs: int | None) -> Iterator[Problem]:
    """What does not fit in so many images and classes; ``outputs`` is None where the network does not say."""
    yield from set_problems(spec, images.arrays, images.numbers)
    if images.train < spec.train.batch:
        message = f"{many(images.train, 'training image')} cannot fill a batch of {spec.train.batch:,}"
        yield Problem(_mark(spec, "train.batch"), message, "lower train.batch")
    if outputs is not None and images.classes > outputs:
        message = f"the data has {many(images.classes, 'class')}, but the network has {many(outputs, 'output')}"
        more = f"give its last layer 'units: classes', or {images.classes:,}"
        remedy = f"{more}; or have fewer classes in {images.where}"
        yield Problem(_mark(spec, "data.source"), message, remedy)
    yield from _sequences(spec)
    yield from _unvalidated(spec) if not images.val else ()


def _unvalidated(spec: Spec) -> Iterator[Problem]:
    """What follows the validation error, in a run without validation images."""
    kind, lacking = spec.train.schedule["type"], "follows the validation error, and there are no validation images"
    if schedule_types()[kind].needs_validation:
        remedy = "add some, or choose another schedule, such as constant"
        yield Problem(_mark(spec, "train.schedule"), f"'{kind}' {lacking}", remedy)
    if spec.train.metrics:
        message = "metrics are measured in validation, and there are no validation images"
        yield Problem(_mark(spec, "train.metrics"), message, "add some, or leave it out")
    if spec.train.early_stopping is not None:
        yield Problem(_mark(spec, "train.early_stopping"), f"early stopping {lacking}", "add some, or leave it out")


def _sequences(spec: Spec) -> Iterator[Problem]:
    """A network of single images with a source of sequences, or the other way round."""
    kind, images = spec.data.source["type"], roles(spec).images
    has = source_types()[kind].sequences
    if has is None or len(images) != 1 or has == (len(spec.inputs[images[0]].shape) == 4):
        return
    given, taken = ("sequences of frames", "single images") if has else ("single images", "sequences of frames")
    remedy = "give the input the shape [frames, height, width, channels]" if has else "draw some by source: moving"
    yield Problem(_mark(spec, "data.source"), f"'{kind}' has {given}, but '{images[0]}' takes {taken}", remedy)


def drawn_images(spec: Spec) -> Images | None:
    """The images of a source that draws them; None where they must be looked for."""
    counts = source_types()[spec.data.source["type"]].counts(spec.data.source)
    if counts is None:
        return None
    images, validation, classes = counts
    held = 0 if validation or not spec.data.split else _held(images, classes, spec.data.split)
    return Images(images - held, validation + held, classes, spec.data.source["type"], numbers=_numbers(spec))


def _held(images: int, classes: int, share: float) -> int:
    """How many images ``data.split`` holds out where the classes come in turn."""
    each, more = divmod(images, classes or 1)
    return more * held_count(each + 1, share) + ((classes or 1) - more) * held_count(each, share)


def count_outputs(plan: Plan) -> int | None:
    """How many classes the network tells apart, from its plan for prediction; None where it gives no such scores."""
    return _classes_in(plan.buffers, plan.answer)


def _tensors(network: Network) -> dict[BufferKey, Tensor]:
    """What the layers give."""
    shards = (shard for group in network.shards for shard in group)
    return {part.key: part.tensor for shard in shards for part in shard.outputs.values()}


def _classes_in(given: Mapping[BufferKey, Buffer | Tensor], answer: BufferKey | None) -> int | None:
    if answer is None or answer.of.tensor == NUMBERS or len(shape := given[answer].shape) != 2:
        return None
    return shape[-1]


def target_of(spec: Spec, plan: Plan) -> str | None:
    """The network input that the numbers of the answer are compared with; None where there is none."""
    if not plan.numbers or plan.answer is None or plan.answer.of.layer is None:
        return None
    return truth_of(spec, "numbers")


class Roles(NamedTuple):
    """The network inputs that take images or sequences of them, those that take labels, and those that take numbers."""

    images: tuple[str, ...]
    labels: tuple[str, ...]
    values: tuple[str, ...]
    others: tuple[str, ...]
    """What nothing can be fed to."""


def roles(spec: Spec) -> Roles:
    """What each network input takes, by its shape and dtype."""
    of: dict[str, list[str]] = {kind: [] for kind in Roles._fields}
    for name, one in spec.inputs.items():
        if one.dtype == "int32":
            of["others" if one.shape else "labels"].append(name)
        else:
            of["images" if len(one.shape) in (3, 4) else "values"].append(name)
    return Roles(*map(tuple, of.values()))


class Read(NamedTuple):
    """What a network reads: its first image and its label by input, the image's shape, and all else."""

    image: str | None
    label: str | None
    shape: tuple[int, ...]
    more: More


def inputs_read(spec: Spec) -> Read:
    """What training and evaluation read for the network. Raises SpecError where it cannot be fed."""
    if problems := [*_inputs(spec), *(() if _named(spec) else _what_source_has(spec))]:
        raise SpecError(problems)
    images, labels, values, _ = roles(spec)
    shapes = {name: one.shape for name, one in spec.inputs.items()}
    first = images[0] if images else None
    more = More(first or "", {name: shapes[name] for name in images[1:]}, {name: shapes[name] for name in values})
    return Read(first, labels[0] if labels else None, shapes[first] if first else (), more)


def reads_one_image(spec: Spec) -> bool:
    """Whether an image, or a sequence, is all that the network needs for an answer."""
    return answered_from(spec) == set(roles(spec).images[:1])


def answered_from(spec: Spec) -> set[str]:
    """The network inputs that an answer is made of: all but labels and targets, which cost layers alone read."""
    found = set[str]()
    for layer in spec.layers:
        cls = layer_types()[layer.type]
        absent = {place for place, name in enumerate(cls.inputs) if name in cls.optional}
        found |= {one.source for place, one in enumerate(layer.inputs) if place not in absent}
    return found & spec.inputs.keys()


def only_image(spec: Spec) -> str:
    """The network input that takes that image. Raises NetspecError where it is not all that is needed."""
    if not reads_one_image(spec):
        raise NetspecError(f"{spec.name} does not read one image alone; there are: {_listed(spec)}")
    return roles(spec).images[0]


def _named(spec: Spec) -> bool:
    """Whether the source has an array for each input."""
    return source_types()[spec.data.source["type"]].named


def _numbers(spec: Spec) -> int | None:
    """How many numbers the source has for each image in place of a class; 0 where its files say."""
    return source_types()[spec.data.source["type"]].numbers


def _what_source_has(spec: Spec) -> Iterator[Problem]:
    """What of the inputs does not fit the kind of source."""
    numbers = _numbers(spec)
    return _one_of_each(spec) if numbers is None else _image_and_numbers(spec, numbers)


def _image_and_numbers(spec: Spec, numbers: int) -> Iterator[Problem]:
    """What sources of images with numbers need."""
    images, labels, values, others = roles(spec)
    if len(images) != 1 or len(values) != 1 or labels or others:
        message = f"'{spec.data.source['type']}' has images with numbers to be predicted; there are: {_listed(spec)}"
        yield Problem(_mark(spec, "inputs"), message, "one image, and one float32 input [K] that an mse layer reads")
    elif numbers and spec.inputs[values[0]].shape != (numbers,):
        has = f"'{values[0]}' has the shape {list(spec.inputs[values[0]].shape)}"
        mark = _mark(spec, f"inputs.{values[0]}.shape", "inputs")
        yield Problem(mark, f"{has}, and the data {numbers} numbers for each image", f"shape: [{numbers}]")


def _one_of_each(spec: Spec) -> Iterator[Problem]:
    """What sources of images with classes need; a network that learns images themselves goes without the class."""
    images, labels, values, others = roles(spec)
    if len(images) != 1 or len(labels) > 1 or values or others or not (labels or _compares_layers(spec)):
        image = "an image of shape [height, width, channels], or a sequence of [frames, height, width, channels],"
        needed = f"training takes {image} in float32 and a label in int32"
        remedy = "as in alexnet.yaml; numbers to be predicted need data.source: table, other inputs arrays"
        yield Problem(_mark(spec, "inputs"), f"{needed}; there are: {_listed(spec)}", remedy)


def _compares_layers(spec: Spec) -> bool:
    """Whether some cost's target is what a layer gives, as an autoencoder's is."""
    layers = {layer.name for layer in spec.layers}
    costs = [layer for layer in spec.layers if "target" in layer_types()[layer.type].optional]
    return any(len(cost.inputs) > 1 and cost.inputs[1].source in layers for cost in costs)


def _listed(spec: Spec) -> str:
    return ", ".join(f"{name} {list(one.shape)} {one.dtype}" for name, one in spec.inputs.items())


def set_problems(
    spec: Spec, arrays: Mapping[str, ArrayKind] | None, numbers: int | None = None
) -> Iterator[Problem]:
    """What of a set does not fit the network's inputs.

    ``arrays`` None: it has images, each with a label or with so many ``numbers``.
    """
    if arrays is None:
        yield from _one_of_each(spec) if numbers is None else _image_and_numbers(spec, numbers)
        return
    found = roles(spec)
    for name, one in spec.inputs.items():
        if (array := arrays.get(name)) is None:
            yield Problem(one.mark, f"no array is called '{name}'", f"there are: {', '.join(arrays)}")
        elif not _fits(name, one.shape, array, found):
            holds = f"'{name}' has the shape {list(array.shape)} and is {array.dtype} in the data"
            yield Problem(one.mark, f"{holds}, and the network takes {list(one.shape)} in {_taken(name, found)}")


def _fits(name: str, shape: tuple[int, ...], array: ArrayKind, found: Roles) -> bool:
    if name in found.labels:
        return not array.shape and array.dtype.startswith(("int", "uint"))
    if name in found.values:
        return (array.shape or (1,)) == shape and array.dtype in ("float32", "float64")
    whole = array.shape if array.shape[-1:] in ((1,), (3,)) else (*array.shape, 1)
    fitting = len(whole) == len(shape) and (len(shape) == 3 or whole[0] >= shape[0])
    return array.dtype == "uint8" and fitting


def _taken(name: str, found: Roles) -> str:
    return "whole numbers" if name in found.labels else "uint8" if name in found.images else "float32"


def _inputs(spec: Spec) -> Iterator[Problem]:
    """What cannot be fed from any source."""
    images, labels, _, others = roles(spec)
    for name in others:
        message = f"'{name}' is of whole numbers, as labels are, and has the shape {list(spec.inputs[name].shape)}"
        yield Problem(spec.inputs[name].mark, message, "float32 for images and numbers")
    if len(labels) > 1 and _named(spec):
        yield Problem(_mark(spec, "inputs"), f"training takes one label in int32; there are: {_listed(spec)}")
    for name in images:
        yield from _image(spec, name)
    if len(images) != 1 and tint_of(spec.data) is not None:
        message = f"colours are altered of one image, and the network reads {len(images)}"
        yield Problem(_mark(spec, "data.augment"), message, "leave it out")
    if (mixing := mix_of(spec.data)) is not None:
        yield from _mixed(spec, mixing)


def _mixed(spec: Spec, name: str) -> Iterator[Problem]:
    """What keeps labels from being mixed as images are, by the augmentation of that name."""
    mark = _mark(spec, f"data.augment.{name}")
    if not roles(spec).images:
        yield Problem(mark, f"'{name}' mixes images, and the network reads none", "leave it out")
    for layer in spec.layers:
        cls = layer_types()[layer.type]
        if cls.reports and not (cls.mixed and label_of(spec, layer)):
            message = f"'{name}' mixes labels too, and '{layer.name}', a {layer.type} layer, learns from no mixed ones"
            yield Problem(mark, message, "leave it out, or learn classes by softmax_loss")


def _image(spec: Spec, name: str) -> Iterator[Problem]:
    height, width, channels = spec.inputs[name].shape[-3:]
    if channels not in CHANNELS:
        message = f"images have 1 or 3 channels, and '{name}' asks for {channels}"
        yield Problem(_mark(spec, f"inputs.{name}.shape", "inputs"), message)
    if spec.data.crop is not None and not height == width == spec.data.crop:
        message = f"'data.crop' is {spec.data.crop}, but the network's input is {height} x {width}"
        yield Problem(_mark(spec, "data.crop"), message, "set it to that, or leave it out")


def _parameters(spec: Spec, builder: Builder) -> Iterator[Problem]:
    """Patterns that name no parameter, and a network of which nothing is trained."""
    names = [(key.of.layer or "", key.of.tensor) for key in builder.buffers if key.role == "parameter"]
    layers = ", ".join(dict.fromkeys(layer for layer, _ in names))
    for path, pattern in patterns_of(spec.train):
        if not any(matches(pattern, *name) for name in names):
            yield Problem(_mark(spec, path), f"'{pattern}' names no parameter", f"layers that have some: {layers}")
    if names and not any(step.op == "update" for step in builder.order.steps):
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
