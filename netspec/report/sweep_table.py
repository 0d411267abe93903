"""The table of a sweep: mean and spread over seeds of what its runs reached."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from netspec._types import Trial
from netspec.measures import Measures
from netspec.report.tables import Table, table
from netspec.units import duration, error_title, is_share

NOTE = "mean ± standard deviation over the runs (n - 1 in its denominator); se: standard error of the mean"


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, sample standard deviation and standard error of the mean of ``n`` values; the latter two None for one."""

    n: int
    mean: float
    sd: float | None
    se: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """Runs that differ by their seeds alone: what they reached by name (errors in [0, 1], loss), and the runs."""

    group: str
    name: str
    values: Mapping[str, str]
    measured: str
    results: Mapping[str, Spread]
    seconds: float
    runs: tuple[Trial, ...]

    @property
    def finished(self) -> int:
        """How many of the runs are finished, and so counted."""
        return sum(run.status == "finished" for run in self.runs)


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    known = tuple(values)
    sd = statistics.stdev(known) if len(known) > 1 else None
    return Spread(len(known), statistics.fmean(known), sd, None if sd is None else sd / math.sqrt(len(known)))


def rows_of(trials: Sequence[Trial]) -> list[Row]:
    """A row for each group of runs, in their order; only finished ones count."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    return [_row(group, runs) for group, runs in groups.items()]


def _row(group: str, runs: Sequence[Trial]) -> Row:
    first, done = runs[0], [run for run in runs if run.status == "finished"]
    losses = [run.loss for run in done if run.loss is not None]
    names = dict.fromkeys(name for run in done for name in run.errors)
    found = {name: spread(run.errors[name] for run in done if name in run.errors) for name in names}
    results = {**found, **({"loss": spread(losses)} if losses else {})}
    measured = done[0].measured if done else ""
    return Row(group, first.name, first.values, measured, results, sum(run.seconds for run in runs), tuple(runs))


def as_table(rows: Sequence[Row]) -> Table:
    """For people; the last column but one tells the first error's distance from the first row."""
    names = _names(rows)
    measures = {name: one for row in rows for run in row.runs for name, one in run.metrics.items()}
    columns = ["net", "runs", *(error_title(name, measures) for name in names)]
    columns += ["against the first"] * (len(rows) > 1) + ["took"]
    lines = []
    for row in rows:
        found = [_text(row.results.get(name), is_share(name, measures)) for name in names]
        apart = [_apart(row, rows[0], names, measures)] * (len(rows) > 1)
        lines.append((row.group, f"{row.finished} of {len(row.runs)}", *found, *apart, duration(row.seconds)))
    return table(columns, lines, right=columns[1:], fold=["net"], drop=["took", "loss"])


def as_csv(rows: Sequence[Row]) -> str:
    """One line a row: what was varied, the number of runs, then mean, sd and se of each result."""
    names, paths = _names(rows), list(dict.fromkeys(path for row in rows for path in row.values))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["name", *paths, "runs", *(f"{name}_{what}" for name in names for what in ("mean", "sd", "se"))])
    for row in rows:
        found = [row.results.get(name) for name in names]
        numbers = [number for one in found for number in ((one.mean, one.sd, one.se) if one else (None,) * 3)]
        writer.writerow([row.name, *(row.values.get(path, "") for path in paths), row.finished, *numbers])
    return stream.getvalue()


def _names(rows: Sequence[Row]) -> list[str]:
    """All results, the loss last."""
    names = dict.fromkeys(name for row in rows for name in row.results)
    return sorted(names, key=lambda name: name == "loss")


def _text(one: Spread | None, share: bool) -> str:
    if one is None:
        return "-"
    scale, digits, unit = (100, 2, " %") if share else (1, 4, "")
    if one.sd is None or one.se is None:
        return f"{scale * one.mean:.{digits}f}{unit}"
    return f"{scale * one.mean:.{digits}f} ± {scale * one.sd:.{digits}f}{unit} (se {scale * one.se:.{digits}f})"


def _apart(row: Row, first: Row, names: Sequence[str], declared: Measures) -> str:
    """How far a row's first error lies from that of the first row, of shares in points, with the standard error."""
    if row is first or not names or names[0] == "loss":
        return ""
    one, other = row.results.get(names[0]), first.results.get(names[0])
    if one is None or other is None:
        return "-"
    scale, digits = (100, 2) if is_share(names[0], declared) else (1, 4)
    text = f"{scale * (one.mean - other.mean):+.{digits}f}"
    if one.se is None or other.se is None:
        return text
    return f"{text} (se {scale * math.hypot(one.se, other.se):.{digits}f})"
