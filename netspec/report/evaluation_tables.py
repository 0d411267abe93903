"""An evaluation on the terminal: errors with their uncertainty, differences, classes, confusions."""

from __future__ import annotations

from collections.abc import Iterable

from netspec.errors import printable
from netspec.evaluation.confusion import most_confused
from netspec.evaluation.error_rates import Rate
from netspec.evaluation.evaluation_result import Evaluation
from netspec.evaluation.significance import Difference
from netspec.machine.names import nearer
from netspec.report.tables import Table, table
from netspec.units import error_name, error_title, error_value, percent, significant

WHOLE_MATRIX = 20
"""Classes up to which a confusion matrix is shown as a whole."""
PAIRS = 30
"""Pairs of classes that are shown of a larger one."""


def networks(done: Evaluation) -> list[Table | str]:
    """The errors of each network and of the average, with 95 % intervals; nothing without class probabilities."""
    if done.results is None:
        return []
    errors, more = [f"{error_name(name)} error (95 %)" for name in done.ranks], further_titles(done)
    columns, labels = ["network", "loss", *errors, *more.values()], labels_of(done)
    rows = []
    for one in done.members:
        rates = map(with_interval, one.rates.values())
        rows.append([labels[one.run], significant(one.loss), *rates, *further(one, more)])
    explained = "95 %: Wilson's score interval, for images drawn at random"
    return [table(columns, rows, right=columns[1:], drop=more.values()), *told_numbers(done), explained]


def told_numbers(done: Evaluation) -> list[str]:
    """Which run each number stands for."""
    return [f"{labels_of(done)[one.run]}: {printable(nearer(one.run))}" for one in done.networks or (done,)]


def further_titles(done: Evaluation) -> dict[str, str]:
    """The titles of what is measured of any of the networks beside, by name; see Evaluation.further."""
    return {name: error_title(name, one.metrics) for one in done.members for name in one.further}


def further(one: Evaluation, names: Iterable[str]) -> list[str]:
    """These of a network; ``-`` for what is not measured of it."""
    values = one.further
    return [error_value(name, values[name], declared=one.metrics) if name in values else "-" for name in names]


def differences(done: Evaluation) -> list[Table | str]:
    """Each two networks on the same images: whether they differ by more than noise."""
    labels, parts = labels_of(done), list[Table | str]()
    for measure in done.ranks if done.networks else ():
        found = done.differences(measure)
        name = error_name(measure)
        columns = ["networks", "errors of one alone", "difference", "p", "more than noise"]
        rows = [_difference(one, labels) for one in found]
        made = table(columns, rows, right=columns[1:4], title=f"differences in {name} error")
        parts += [made] if parts else ["", made]
    if parts:
        parts.append("difference: in percentage points")
        parts.append("p: McNemar's test (mid-p), adjusted by Holm's method for all pairs of a table")
    return parts


def _difference(one: Difference, labels: dict[str, str]) -> list[str]:
    counts = f"{one.only_first_wrong:,} and {one.only_second_wrong:,}"
    names = f"{labels[one.first]} and {labels[one.second]}"
    return [names, counts, f"{100 * one.share:+.1f}", p_value(one.adjusted), "yes" if one.significant else "no"]


def classes(done: Evaluation) -> Table:
    """Errors by class, the worst first."""
    rows = []
    for one in sorted(done.by_class, key=lambda one: (-one.top1.share, one.name)):
        other = f"{_told(done, one.taken_for)} ({one.taken:,})" if one.taken_for else ""
        figures = [with_interval(one.top1), *([percent(one.top5.share)] if "top5" in done.ranks else [])]
        rows.append([_told(done, one.name), f"{one.top1.images:,}", *figures, other])
    more = ["top-5 error"] if "top5" in done.ranks else []
    columns, title = ["class", "images", "top-1 error (95 %)", *more, "most often taken for"], "errors by class"
    return table(columns, rows, right=columns[1:-1], fold=[columns[0], columns[-1]], drop=more, title=title)


def confusion(done: Evaluation) -> Table:
    """The matrix as a whole, or the pairs that are confused most often where it is large."""
    matrix = done.confusion
    if len(done.classes) <= WHOLE_MATRIX:
        numbers = [str(number) for number in range(len(done.classes))]
        rows = [
            [number, _told(done, name), *(f"{count:,}" if count else "." for count in line)]
            for number, name, line in zip(numbers, done.classes, matrix.tolist(), strict=True)
        ]
        title = "images of a class (rows) that were taken for each (columns)"
        return table(["", "class", *numbers], rows, right=["", *numbers], fold=["class"], title=title)
    columns = ["class", "taken for", "images", "of its images"]
    lines = [
        [_told(done, one.name), _told(done, one.taken_for), f"{one.count:,}", percent(one.count / one.images)]
        for one in most_confused(matrix, done.classes, PAIRS)
    ]
    return table(columns, lines, right=columns[2:], fold=columns[:2], title="most often confused")


def with_interval(rate: Rate) -> str:
    """``37.5 % (36.1 to 38.9)``"""
    low, high = rate.interval
    return f"{percent(rate.share)} ({100 * low:.1f} to {100 * high:.1f})"


def p_value(p: float) -> str:
    """Three digits behind the point, or that it is less."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def labels_of(done: Evaluation) -> dict[str, str]:
    """What each network is called in the tables of differences, by its run."""
    numbered = {one.run: str(number) for number, one in enumerate(done.networks, start=1)}
    return {**numbered, done.run: "average" if numbered else "1"}


def _told(done: Evaluation, name: str) -> str:
    """A class, with what people call it."""
    words = done.words.get(name)
    return f"{printable(name)}: {printable(words)}" if words else printable(name)
