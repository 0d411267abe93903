"""What notebooks show of specs, plans, runs, predictions and evaluations: the pictures and tables of the commands."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch

from netspec._run import Run
from netspec._types import Prediction, Predictions
from netspec.errors import SpecError
from netspec.evaluation.evaluation_result import Evaluation
from netspec.graph import draw
from netspec.page.document import folded, image, note, table
from netspec.planning import build
from netspec.planning.plan import Plan
from netspec.report import evaluation_tables, network_tables, number_tables
from netspec.report.summary import summarise
from netspec.report.tables import Table
from netspec.spec import resolved
from netspec.spec.types import Spec
from netspec.units import many, percent


@singledispatch
def svg(thing: object) -> str | None:
    """The picture of a network; None for anything else, and for a spec of which no plan can be made."""
    return None


@svg.register
def _(plan: Plan) -> str | None:
    return draw(plan, "svg")


@svg.register
def _(spec: Spec) -> str | None:
    try:
        return draw(build(spec), "svg")
    except SpecError:
        return None


@singledispatch
def html(thing: object) -> str | None:
    """Tables, and pictures where there are some; None for what has none."""
    return None


@html.register
def _(plan: Plan) -> str | None:
    tables = network_tables.numbers(summarise(plan, ()))
    return _picture(plan) + _parts([f"{plan.phase}, batch {plan.batch}", *tables])


@html.register
def _(spec: Spec) -> str | None:
    return _picture(spec) + folded("the spec, written out", resolved(spec))


@html.register
def _(run: Run) -> str | None:
    from netspec.page.run_page import parts
    from netspec.report.run_labels import run_labels

    sections = parts([run.folder], run_labels([run.folder]), lambda line: None, {})
    return "".join(one.section().body for one in sections if one.anchor in ("results", "curves"))


@html.register
def _(prediction: Prediction) -> str | None:
    return _seen([prediction])


@html.register
def _(predictions: Predictions) -> str | None:
    return _seen(predictions)


@html.register
def _(done: Evaluation) -> str | None:
    if done.numbers is not None:
        return _parts([*number_tables.networks(done), *number_tables.numbers(done), *number_tables.differences(done)])
    parts = [*evaluation_tables.networks(done), *evaluation_tables.differences(done)]
    return _parts([*parts, evaluation_tables.classes(done)] if parts else [f"loss {done.loss:.4g}"])


def _picture(network: Plan | Spec) -> str:
    drawn = svg(network)
    return image(drawn.encode(), "svg", f"layers of {network.name} by device", own_colours=True) if drawn else ""


def _parts(parts: Iterable[Table | str]) -> str:
    return "\n".join(_part(part) for part in parts if part)


def _part(part: Table | str) -> str:
    """A table of the command line as HTML, or one of its lines."""
    if isinstance(part, str):
        return note(part)
    rows = [*part.rows, part.total] if part.total else part.rows
    return (note(part.title) if part.title else "") + table(part.columns, rows, part.right)


_MOST = 100
"""Images of which the classes are shown."""


def _seen(found: list[Prediction]) -> str:
    """A row for each class, the image's name in the first of its rows."""
    rows = [row for one in found[:_MOST] for row in _rows(one)]
    more = note(f"and {many(len(found) - _MOST, 'more image')}") if len(found) > _MOST else ""
    return table(["image", "seen", "probability"], rows, right=["probability"]) + more


def _rows(one: Prediction) -> list[tuple[str, str, str]]:
    words = one.words or ("",) * len(one.top)
    pairs = zip(one.top, words, strict=True)
    told = [(f"{name}: {word}" if word else name, percent(share)) for (name, share), word in pairs]
    if not told:
        told = [(one.error or "  ".join(f"{number:.6g}" for number in one.numbers), "")]
    return [(one.path if place == 0 else "", *texts) for place, texts in enumerate(told)]
