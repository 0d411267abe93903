"""What no spec names, but an option does: ``--log NAME`` or ``--metric '{type: NAME, ...}'``, checked as a spec is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netspec.callbacks import callback_types
from netspec.errors import Mark
from netspec.metrics import metric_types
from netspec.spec.fields import Fields, Types
from netspec.spec.nodes import Map, Node, Scalar, from_plain
from netspec.spec.problems import Report
from netspec.spec.reader import parse

Given = Sequence[str | Mapping[str, object]]


def callback_settings(given: Given) -> list[dict[str, Any]]:
    """Each as ``{type: ..., ...}`` with all its settings. Raises SpecError with all that is wrong."""
    return _settings(given, callback_types(), "callback", "--log")


def metric_settings(given: Given) -> list[dict[str, Any]]:
    """Likewise of metrics."""
    return _settings(given, metric_types(), "metric", "--metric")


def _settings(given: Given, types: Types, noun: str, option: str) -> list[dict[str, Any]]:
    report, found = Report(), []
    for row, one in enumerate(given):
        node = _read(one, row, report, option) if isinstance(one, str) else from_plain(one, Mark(option, row + 1, 1))
        if node is not None:
            found.append(Fields(report).typed(node, types, noun, option))
    report.finish()
    return [one for one in found if one is not None]


def _read(text: str, row: int, report: Report, option: str) -> Node | None:
    """The text as nodes; a name alone is the type of one with no settings."""
    line, indent = f"{option} {text}", len(option) + 1
    node = parse(text, option, report.problems, row=row, indent=indent, line=line)
    mark = Mark(option, row + 1, indent + 1, line)
    if isinstance(node, Scalar):
        return from_plain({"type": node.value}, node.mark)
    return node if node is not None or report.problems else Map({}, mark)
