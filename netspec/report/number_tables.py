"""An evaluation of networks that predict numbers, on the terminal."""

from __future__ import annotations

from netspec.evaluation.evaluation_result import Evaluation
from netspec.evaluation.number_results import Distance
from netspec.report.evaluation_tables import further, further_titles, labels_of, p_value, told_numbers
from netspec.report.tables import Table, table
from netspec.units import percent

_COLUMNS = ("mae", "rmse of the mean", "variance explained")
MOST = 30
"""Numbers up to which each has a row of its own."""


def networks(done: Evaluation) -> list[Table | str]:
    """Each network, and the average: rmse with a 95 % interval, beside that of predicting the targets' mean."""
    labels, more, rows = labels_of(done), further_titles(done), []
    for one in done.members:
        assert one.numbers is not None
        low, high = one.numbers.interval
        distance = one.numbers.whole
        rmse = f"{distance.rmse:.3g} ({low:.3g} to {high:.3g})"
        rows.append([labels[one.run], f"{one.loss:.4g}", rmse, *_figures(distance), *further(one, more)])
    columns = ["network", "loss", "rmse (95 %)", *_COLUMNS, *more.values()]
    explained = "95 %: the normal interval of the mean squared error over images; the mean is that of the set's targets"
    made = table(columns, rows, right=columns[1:], drop=["loss", *more.values()])
    return [made, *told_numbers(done), explained]


def numbers(done: Evaluation) -> list[Table | str]:
    """Each number by itself, where there are several; of several networks the average."""
    found = done.numbers.by_number if done.numbers is not None else []
    if not 1 < len(found) <= MOST:
        return []
    rows = [[str(place), f"{one.rmse:.3g}", *_figures(one)] for place, one in enumerate(found, start=1)]
    columns = ["number", "rmse", *_COLUMNS]
    return ["", table(columns, rows, right=columns, title="by number")]


def differences(done: Evaluation) -> list[Table | str]:
    """Each two networks on the same images: whether they differ by more than noise."""
    labels = labels_of(done)
    rows = []
    for one, p in done.number_differences():
        names = f"{labels[one.first]} and {labels[one.second]}"
        rows.append([names, f"{one.difference:+.3g}", p_value(p), "yes" if p < 0.05 else "no"])
    columns = ["networks", "difference in rmse", "p", "more than noise"]
    told = "p: paired normal test of squared errors, adjusted by Holm's method for all pairs"
    return ["", table(columns, rows, right=columns[1:3]), told] if rows else []


def _figures(distance: Distance) -> list[str]:
    explained = "-" if distance.r2 is None else percent(distance.r2)
    return [f"{distance.mae:.3g}", f"{distance.of_mean:.3g}", explained]
