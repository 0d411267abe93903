"""Evaluation of trained networks, image by image: one network, or several whose probabilities are averaged.

Networks are evaluated one after the other, each streamed through in batches. Of each nothing is kept but some 200
bytes an image; of several the sum of their probabilities besides, 4 bytes an image and class.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netspec.data.index.classes import listed
from netspec.data.source import Split
from netspec.errors import NetspecError
from netspec.evaluation.evaluation_result import Evaluation, ranks_of
from netspec.evaluation.image_results import ImageResults, Judge
from netspec.evaluation.number_results import Comparer, NumberResults
from netspec.events import EvaluationDone, Listener, Note
from netspec.metrics import Totals
from netspec.planning import build
from netspec.planning.measured import metric_problems
from netspec.planning.trainable import target_of
from netspec.runners.streaming import Asked, Indices, Rows, Streamed, Take, open_all, open_images, stream
from netspec.runners.trained import Trained, nobody, once, output_names
from netspec.runners.training.checkpoint import Record, record_of
from netspec.runners.training.measuring import Measuring
from netspec.runners.training.nonfinite import NotFinite
from netspec.spec.typed_options import metric_settings
from netspec.units import many

Order = NDArray[np.int64]
Results = ImageResults | NumberResults

_BROKEN_TOLD = 20
_AVERAGED_AT_ONCE = 4096


def evaluate_networks(paths: Sequence[Path], asked: Asked, listener: Listener | None) -> Evaluation:
    """See ``netspec.api.evaluate``."""
    emit = once(listener or nobody)
    networks = [_with_metrics(network, asked) for network in open_all(paths, asked, emit)]
    images = open_images(networks[0], asked, emit)
    if len(networks) == 1:
        return _Member(networks[0], None).evaluate(images, asked, emit)
    _check_alike(networks)
    members = [_Member(network, class_order(networks[0], network)) for network in networks]
    asked = replace(asked, views=asked.views or networks[0].spec.data.views)
    average = Average(len(images))
    alone = [one.evaluate(images, replace(asked, probabilities=False), emit, average.add) for one in members]
    return _together(networks[0], alone, average, images, asked)


def _with_metrics(network: Trained, asked: Asked) -> Trained:
    """The network, to be measured by these metrics beside its spec's. Raises NetspecError where that cannot be."""
    train = network.spec.train
    known = {one["type"]: one for one in (*train.metrics, *metric_settings(asked.metrics))}
    spec = replace(network.spec, train=replace(train, metrics=tuple(known.values())))
    if problems := list(metric_problems(spec, build(spec, "eval", 1).answer)):
        raise NetspecError("; ".join(problem.message for problem in problems))
    return replace(network, spec=spec)


def need_classes(paths: Sequence[Path]) -> None:
    """Raise NetspecError for a run that was trained on images without classes; before anything is evaluated."""
    for path in paths:
        record = None
        with contextlib.suppress(NetspecError):  # evaluation tells what is wrong with it
            record = record_of(path)
        if record is not None and not record.classes:
            raise NetspecError(f"{path}: the network predicts numbers: there are no classes")


def _check_alike(networks: Sequence[Trained]) -> None:
    """Raise NetspecError where answers of different kinds, or of different sizes of numbers, would be averaged."""
    shapes: dict[str, Path] = {}
    for network in networks:
        plan = build(network.spec, "eval", 1)
        size = plan.buffers[plan.answer].shape[1] if plan.numbers and plan.answer else None
        shapes.setdefault("classes" if size is None else f"{size} numbers", network.path)
    if len(shapes) > 1:
        told = ", ".join(f"{path} predicts {kind}" for kind, path in shapes.items())
        raise NetspecError(f"networks of different answers have no average: {told}")


def class_order(first: Trained, other: Trained) -> Order | None:
    """The other network's output for each of the first one's; None where they agree.

    Raises NetspecError where the two do not tell the same classes apart.
    """
    ours, theirs = (output_names(network) for network in (first, other))
    if ours == theirs:
        return None
    alone = [(sorted(set(a) - set(b)), network) for a, b, network in ((ours, theirs, first), (theirs, ours, other))]
    only = [f"only {network.path} knows {listed(names)}" for names, network in alone if names]
    if only:
        raise NetspecError(f"networks of different classes have no average: {', '.join(only)}")
    places = {name: place for place, name in enumerate(theirs)}
    return np.array([places[name] for name in ours], np.int64)


class Average:
    """The mean of several networks' probabilities: float32 (images, classes), which is all that it holds."""

    def __init__(self, images: int) -> None:
        self._sums = np.zeros((images, 0), np.float32)
        self._seen = np.zeros(images, np.int64)

    def add(self, indices: Indices, rows: Rows) -> None:
        """Some images' probabilities by one network."""
        if not self._sums.shape[1]:
            self._sums = np.zeros((len(self._sums), rows.shape[1]), np.float32)
        self._sums[indices] += rows
        self._seen[indices] += 1

    def pieces(self, networks: int) -> Iterator[tuple[Indices, Rows]]:
        """The means of the images that all networks have seen, some at a time."""
        seen = np.flatnonzero(self._seen == networks)
        for start in range(0, len(seen), _AVERAGED_AT_ONCE):
            some = seen[start : start + _AVERAGED_AT_ONCE]
            yield some, self._sums[some] / np.float32(networks)


@dataclass(frozen=True, slots=True)
class _Member:
    """A network to be evaluated, alone or among others; ``order`` sorts its outputs as the first network's are."""

    network: Trained
    order: Order | None

    def evaluate(self, images: Split, asked: Asked, emit: Listener, also: Take | None = None) -> Evaluation:
        """Errors over the images, whose labels are the first network's; ``also`` hears the probabilities too."""
        network, views = self.network, asked.views or self.network.spec.data.views
        names = output_names(network)
        judge, measuring = _judge(network, images, names, asked), Measuring.of(network.spec)
        sums = _Sums(measuring, images)
        if judge is None and (views > 1 or also):
            raise NetspecError(f"{network.path}: the network gives no class probabilities that could be averaged")
        if isinstance(judge, Comparer) and views > 1:
            moved = "of ten views five are mirrored and eight shifted" if views > 2 else "one of two views is mirrored"
            emit(Note(f"{moved}: that suits numbers which do not change by it"))

        def take(indices: Indices, rows: Rows) -> None:
            ordered = rows if self.order is None else rows[:, self.order]
            assert judge is not None
            judge.add(indices, ordered)
            sums.add(indices, ordered)
            if also:
                also(indices, ordered)

        try:
            streamed = stream(network, self._labelled(images), views, asked, emit, take if judge else None)
        except NotFinite as error:
            raise NotFinite(f"{network.file}: {error}") from error
        results = judge.results(images.name) if judge else None
        done = _event(network.record, streamed, results, len(names), sums, views, asked.split)
        if streamed.broken:
            emit(Note(told_broken([f"{asked.split}: {name}: {why}" for name, why in streamed.broken], done.images)))
        emit(done)
        ordered = names if self.order is None else tuple(names[place] for place in self.order)
        made = _evaluation(done, str(network.path), images.where, ordered, results)
        return replace(made, words=network.record.words)

    def _labelled(self, images: Split) -> Split:
        """The images with labels that are the network's own outputs."""
        if self.order is None:
            return images
        own = copy.copy(images)
        own.labels = self.order.astype(np.int32)[images.labels]
        return own


def _judge(network: Trained, images: Split, names: Sequence[str], asked: Asked) -> Judge | Comparer | None:
    """What takes the network's answers; None where it gives none that the images' own could be compared with."""
    if names:
        return Judge(images.labels, asked.top, asked.probabilities)
    target = target_of(network.spec, build(network.spec, "eval", 1))
    return Comparer(len(images), partial(images.values, target)) if target else None


def _errors(results: Results, classes: int) -> dict[str, float]:
    if isinstance(results, NumberResults):
        return results.errors
    return {name: float(results.wrong(k).mean()) for name, k in ranks_of(classes).items()}


class _Sums:
    """Adds up a network's metrics over images; ``values`` is what they come to."""

    def __init__(self, measuring: Measuring, images: Split) -> None:
        self._totals, self._images, self._truth = Totals(measuring.metrics), images, measuring.truth
        self.declared = measuring.declared
        self._are_numbers = any(one.answers == "numbers" for one in measuring.metrics)

    def add(self, indices: Indices, rows: Rows) -> None:
        """What the network gives for the images of these places in the set."""
        if self._totals and len(indices):
            truth = self._images.values(self._truth, indices) if self._are_numbers else self._images.labels[indices]
            self._totals.add(self._totals.of(rows, truth))

    def values(self) -> dict[str, float]:
        """Each metric by name."""
        return self._totals.values()


def _event(
    record: Record, streamed: Streamed, results: Results | None, classes: int, sums: _Sums, views: int, split: str
) -> EvaluationDone:
    """The figures: what the cost layers report, but for the answer's own errors, which are those of its results."""
    loss, errors = streamed.tally.loss, streamed.tally.errors
    if results is not None:
        own = _errors(results, classes)
        errors = own if views > 1 else errors | {name: own[name] for name in own if name in errors}
        loss = float(results.loss.mean(dtype=np.float64)) if views > 1 else loss
    images = streamed.images if results is None else len(results)
    figures, broken = (loss, errors | sums.values(), images, streamed.seconds), len(streamed.broken)
    return EvaluationDone(record.epoch, record.iteration, split, *figures, broken, views, sums.declared)


def _together(first: Trained, alone: Sequence[Evaluation], average: Average, images: Split, asked: Asked) -> Evaluation:
    """The evaluation of the averaged answers, beside those of each network alone."""
    judge = _judge(first, images, alone[0].classes, asked)
    sums = _Sums(Measuring.of(first.spec), images)
    assert judge is not None
    for indices, rows in average.pieces(len(alone)):
        judge.add(indices, rows)
        sums.add(indices, rows)
    results = judge.results(images.name)
    loss = float(results.loss.mean(dtype=np.float64))
    errors = _errors(results, len(alone[0].classes)) | sums.values()
    seconds, broken = sum(one.seconds for one in alone), max(one.broken for one in alone)
    figures = (loss, errors, len(results), seconds, broken, alone[0].views, sums.declared)
    done = EvaluationDone(0, 0, asked.split, *figures)
    whole = _evaluation(done, f"average of {len(alone)}", images.where, alone[0].classes, results)
    return replace(whole, words=alone[0].words, networks=tuple(alone))


def _evaluation(
    done: EvaluationDone, run: str, where: str, classes: tuple[str, ...], results: Results | None
) -> Evaluation:
    figures = {field.name: getattr(done, field.name) for field in fields(EvaluationDone)}
    seen = results if isinstance(results, ImageResults) else None
    numbers = results if isinstance(results, NumberResults) else None
    return Evaluation(**figures, run=run, where=where, classes=classes, results=seen, numbers=numbers)


def told_broken(broken: Sequence[str], counted: int) -> str:
    """Which images could not be read, and over how many the figures are."""
    count = len(broken)
    images = many(counted + count, "image")
    head = f"{count:,} of {images} could not be read; the figures are over the other {counted:,}"
    more = [f"and {count - _BROKEN_TOLD:,} more"] if count > _BROKEN_TOLD else []
    return "\n  ".join([f"{head}:", *broken[:_BROKEN_TOLD], *more])
