"""The paper's tables 1 and 2 with rows of one's own below: as text, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netspec.errors import printable
from netspec.evaluation.error_rates import Rate
from netspec.evaluation.evaluation_result import Evaluation
from netspec.machine.names import nearer
from netspec.report.evaluation_tables import further, further_titles, with_interval
from netspec.report.published import FOOTNOTE, TABLES
from netspec.report.tables import Table, table
from netspec.units import many, percent, views

MEASURED = "Measured here"
COLUMNS = ("top-1", "top-5")

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: of how many networks, which runs, in how many views of which images."""

    networks: int
    runs: tuple[str, ...]
    set: str
    views: int
    images: int
    top1: Rate
    top5: Rate | None
    """None of so few classes that it is always 0."""
    further: Mapping[str, str]
    """What else was measured of any of the networks, by its title."""
    metrics: Mapping[str, float]
    """What else was measured of these, by name."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The errors that are told: of five classes or fewer a top-5 error is none."""
        return COLUMNS if self.top5 else COLUMNS[:1]

    @property
    def where(self) -> str:
        """``imagenet/, 10 views``"""
        return f"{self.set}, {views(self.views)}"

    @property
    def model(self) -> str:
        """As the paper calls it: ``1 CNN``, ``5 CNNs``."""
        return many(self.networks, "CNN")

    def as_data(self) -> dict[str, Any]:
        """The row, for JSON."""
        rates = {"top1": self.top1.as_data(), "top5": self.top5.as_data() if self.top5 else None}
        where = {"runs": self.runs, "set": self.set, "views": self.views}
        return {"model": self.model, **where, **rates, "metrics": self.metrics}


def measured_rows(done: Evaluation) -> list[Row]:
    """A row for each network alone and, of several, one for their average."""
    runs = [printable(nearer(one.run)) for one in done.networks or (done,)]
    names = [*((run,) for run in runs), *([tuple(runs)] if done.networks else [])]
    titles = further_titles(done)
    return [
        Row(
            *(len(own), own, printable(nearer(one.where)), one.views, one.images),
            *(one.rates["top1"], one.rates.get("top5")),
            dict(zip(titles.values(), further(one, titles), strict=True)),
            one.further,
        )
        for own, one in zip(names, done.members, strict=True)
    ]


def as_text(rows: Sequence[Row]) -> list[Table | str]:
    """For the terminal."""
    parts: list[Table | str] = []
    for one in TABLES:
        lines = [[row.model, *map(_percent, row.errors)] for row in one.rows]
        parts += [table(["model", *one.columns], lines, right=one.columns, title=one.title)]
    measured = [*(f"{name} (95 %)" for name in rows[0].columns), *rows[0].further]
    columns = ["model", "runs", "images", *measured]
    alone = [row for row in rows if row.networks == 1]
    runs = [str(place) for place in range(1, len(alone) + 1)] + [f"1 to {len(alone)}"]
    own = [[row.model, run, f"{row.images:,}", *_errors(row)] for row, run in zip(rows, runs, strict=False)]
    ours = table(columns, own, right=columns[2:], drop=rows[0].further, title=f"{MEASURED}: {rows[0].where}")
    return [*parts, FOOTNOTE, "", ours, *(f"{run}: {row.runs[0]}" for row, run in zip(alone, runs, strict=False))]


def as_csv(rows: Sequence[Row]) -> str:
    """One table: a line for each model and set; errors in percent."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    more = list(dict.fromkeys(name for row in rows for name in row.metrics))
    head = ["table", "model", "runs", "set", "views", "images"]
    columns = (part for name in COLUMNS for part in (name, f"{name} low", f"{name} high"))
    out.writerow([*head, *columns, *more])
    for one in TABLES:
        for published, where, errors in one.by_set():
            cells = [cell for value in errors for cell in (value, "", "")]
            out.writerow([one.title.partition(":")[0], published.model, "", where, "", "", *cells, *("" for _ in more)])
    for row in rows:
        limits = [(rate.share, *rate.interval) for rate in (row.top1, row.top5) if rate]
        figures = [f"{100 * value:.2f}" for rate in limits for value in rate]
        cells = [*figures, *[""] * (3 * len(COLUMNS) - len(figures))]
        place = [row.model, "; ".join(row.runs), row.set, row.views, row.images]
        out.writerow([MEASURED, *place, *cells, *(row.metrics.get(name, "") for name in more)])
    return text.getvalue()


def as_latex(rows: Sequence[Row]) -> str:
    """Three tabulars, in LaTeX without packages."""
    parts = []
    for one in TABLES:
        lines = [[row.model, *map(_percent, row.errors)] for row in one.rows]
        parts.append(_tabular(one.title, "l" + "r" * len(one.columns), ["Model", *one.columns], lines))
    columns = ["Model", "Runs", "Set", "Views", "Images", *rows[0].columns, *rows[0].further]
    own = [[row.model, ", ".join(row.runs), row.set, str(row.views), f"{row.images:,}", *_errors(row)] for row in rows]
    layout = "lp{5cm}p{3cm}" + "r" * (len(columns) - 3)
    return "\n".join([*parts, f"% {FOOTNOTE}", _tabular(MEASURED, layout, columns, own)])


def _tabular(title: str, layout: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (columns, *rows)]
    body = [lines[0], r"\hline", *lines[1:]]
    return "\n".join([f"% {title}", f"\\begin{{tabular}}{{{layout}}}", *body, r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)


def _errors(row: Row) -> list[str]:
    return [*(with_interval(rate) for rate in (row.top1, row.top5) if rate), *row.further.values()]


def _percent(value: float | None) -> str:
    return "--" if value is None else percent(value / 100)
