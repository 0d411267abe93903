"""The settings of callbacks, which no spec names: ``--log NAME`` or ``{type: NAME, ...}``, checked as a spec is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netspec.callbacks import callback_types
from netspec.errors import Mark
from netspec.spec.fields import Fields
from netspec.spec.nodes import Map, Node, Scalar, from_plain
from netspec.spec.problems import Report
from netspec.spec.reader import parse

OPTION = "--log"


def callback_settings(given: Sequence[str | Mapping[str, object]]) -> list[dict[str, Any]]:
    """Each as ``{type: ..., ...}`` with all its settings. Raises SpecError with all that is wrong."""
    report, found = Report(), []
    for row, one in enumerate(given):
        node = _read(one, row, report) if isinstance(one, str) else from_plain(one, Mark(OPTION, row + 1, 1))
        if node is not None:
            found.append(Fields(report).typed(node, callback_types(), "callback", OPTION))
    report.finish()
    return [one for one in found if one is not None]


def _read(text: str, row: int, report: Report) -> Node | None:
    """The text as nodes; a name alone is the type of one with no settings."""
    line, indent = f"{OPTION} {text}", len(OPTION) + 1
    node = parse(text, OPTION, report.problems, row=row, indent=indent, line=line)
    mark = Mark(OPTION, row + 1, indent + 1, line)
    if isinstance(node, Scalar):
        return from_plain({"type": node.value}, node.mark)
    return node if node is not None or report.problems else Map({}, mark)
