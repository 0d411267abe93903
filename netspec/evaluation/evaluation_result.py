"""What an evaluation gives back: the errors of one network, or of several whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from netspec._shown import Shown
from netspec.evaluation import number_results
from netspec.evaluation.confusion import ClassErrors, confusion_matrix, errors_by_class
from netspec.evaluation.error_rates import Rate
from netspec.evaluation.image_results import ImageResults
from netspec.evaluation.number_results import NumberDifference, NumberResults
from netspec.evaluation.significance import Difference, holm, mcnemar
from netspec.events import EvaluationDone

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RANKS = {"top1": 1, "top5": 5}


def ranks_of(classes: int) -> dict[str, int]:
    """The ranks that errors are counted by; without those that so few classes always reach."""
    return {name: rank for name, rank in RANKS.items() if rank == 1 or rank < classes}


@dataclass(frozen=True, slots=True)
class Evaluation(EvaluationDone, Shown):
    """The event, and what lies behind it.

    ``run`` is the path that was given, ``where`` the set of images, ``classes`` the names of the network's outputs, and
    ``words`` what people call them, by name, where that is known.
    ``results`` are the single images, None where the network gives no class probabilities; ``numbers`` those of a
    network that predicts numbers. Of several networks ``networks`` are those alone, in the order given; ``epoch`` and
    ``iteration`` are 0 then, and ``loss``, ``errors``, ``results`` and ``numbers`` those of their averaged answers.
    """

    run: str = ""
    where: str = ""
    classes: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict, repr=False)
    results: ImageResults | None = field(default=None, compare=False, repr=False)
    numbers: NumberResults | None = field(default=None, compare=False, repr=False)
    networks: tuple[Evaluation, ...] = field(default=(), repr=False)

    @property
    def ranks(self) -> dict[str, int]:
        """The ranks that its errors are counted by, by name."""
        return ranks_of(len(self.classes))

    @property
    def further(self) -> Mapping[str, float]:
        """What is measured beside the errors that classes and numbers have anyway, by name."""
        return {name: value for name, value in self.errors.items() if name not in (*self.ranks, "rmse", "mae")}

    @property
    def rates(self) -> Mapping[str, Rate]:
        """Error rates by name (top1 and, of more than five classes, top5), with intervals; none without results."""
        if self.results is None:
            return {}
        return {name: Rate(int(self.results.wrong(k).sum()), len(self.results)) for name, k in self.ranks.items()}

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How many images of each class (rows) were taken for each class (columns)."""
        return confusion_matrix(self._results, len(self.classes))

    @property
    def by_class(self) -> list[ClassErrors]:
        """The errors of each class that has images."""
        return errors_by_class(self._results, self.confusion, self.classes)

    @property
    def members(self) -> tuple[Evaluation, ...]:
        """The networks alone and, of several, the average last."""
        return (*self.networks, self)

    def differences(self, measure: str = "top1") -> list[Difference]:
        """Each two of the networks, and each with the average, by McNemar's test on the images that both could read.

        ``measure`` is top1 or top5.
        """
        pairs = list(combinations(self.members, 2))
        counts = [_discordant(one, other, RANKS[measure]) for one, other in pairs]
        values = [mcnemar(first, second) for first, second, _ in counts]
        found = zip(pairs, counts, values, holm(values), strict=True)
        return [Difference(one.run, other.run, *count, p, adjusted) for (one, other), count, p, adjusted in found]

    def number_differences(self) -> list[tuple[NumberDifference, float]]:
        """Each two of several networks that predict numbers, and each with the average; p adjusted beside each."""
        pairs = [] if not self.networks else list(combinations(self.members, 2))
        found = [
            number_results.difference((one.run, other.run), one.numbers, other.numbers)
            for one, other in pairs
            if one.numbers is not None and other.numbers is not None
        ]
        return list(zip(found, holm([one.p for one in found]), strict=True))

    @property
    def _results(self) -> ImageResults:
        if self.results is None:
            raise ValueError(f"{self.run} gives no class probabilities")
        return self.results


def _discordant(one: Evaluation, other: Evaluation, k: int) -> tuple[int, int, int]:
    """How many images only the one gets wrong, how many only the other, of how many."""
    import numpy as np

    first, second = one._results, other._results
    _, here, there = np.intersect1d(first.index, second.index, assume_unique=True, return_indices=True)
    a, b = first.wrong(k)[here], second.wrong(k)[there]
    return int((a & ~b).sum()), int((b & ~a).sum()), len(here)


def as_data(done: Evaluation, confusion: bool = False) -> dict[str, Any]:
    """All of it as plain data for JSON, but for the single images; the matrix where ``confusion`` is asked for."""
    alone = _figures(done) | {"classes": list(_classes(done))}
    if confusion and done.results is not None:
        alone["confusion"] = {"classes": list(done.classes), "counts": done.confusion.tolist()}
    if done.networks and done.numbers is not None:
        alone["networks"] = [_figures(one) for one in done.networks]
        alone["differences"] = [one._asdict() | {"adjusted": p} for one, p in done.number_differences()]
    elif done.networks:
        alone["networks"] = [_figures(one) for one in done.networks]
        alone["differences"] = {name: list(map(_difference, done.differences(name))) for name in done.ranks}
    return alone


def _figures(done: Evaluation) -> dict[str, Any]:
    names = [name for name in EvaluationDone.__dataclass_fields__]
    rates = {name: rate.as_data() for name, rate in done.rates.items()}
    return {"run": done.run, **{name: getattr(done, name) for name in names}, "set": done.where, "rates": rates} | (
        {"numbers": number_results.as_data(done.numbers)} if done.numbers is not None else {}
    )


def _classes(done: Evaluation) -> Iterator[dict[str, Any]]:
    for one in done.by_class if done.results is not None else ():
        rates = {"top1": one.top1.as_data(), "top5": one.top5.as_data()}
        words = done.words.get(one.name, "")
        yield {"name": one.name, "words": words, **rates, "taken_for": one.taken_for, "taken": one.taken}


def _difference(one: Difference) -> dict[str, Any]:
    names = [name for name in Difference.__dataclass_fields__]
    figures = {name: getattr(one, name) for name in names}
    return {**figures, "difference": one.share, "significant": one.significant}
