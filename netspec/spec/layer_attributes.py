"""The attributes of a layer that stands in no spec: from ``--set`` texts or a Python map, checked as a spec's are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from netspec.errors import Mark, NetspecError, SpecError
from netspec.spec.class_counts import WORD
from netspec.spec.fields import Fields
from netspec.spec.layer_section import attributes_of
from netspec.spec.nodes import Map, from_plain
from netspec.spec.overlay import overlay
from netspec.spec.overrides import as_tree
from netspec.spec.problems import Report


def set_attributes(kind: str, assignments: Sequence[str]) -> dict[str, Any]:
    """All attributes of a layer type, those of texts such as ``size=3`` with their values.

    Raises SpecError with all that is wrong, NetspecError where a number of classes is asked for.
    """
    report = Report()
    trees = [as_tree(text, index, report) for index, text in enumerate(assignments)]
    written = Map({}, Mark("--set", 1, 1))
    for tree in filter(None, trees):
        laid = overlay(written, tree)
        written = laid if isinstance(laid, Map) else written
    return _read(kind, written, report)


def given_attributes(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The same from a map; its errors have no place."""
    written = from_plain(given, Mark("", 1, 1))
    assert isinstance(written, Map)
    try:
        return _read(kind, written, Report())
    except SpecError as error:
        raise SpecError([replace(problem, mark=None) for problem in error.problems]) from None


def _read(kind: str, written: Map, report: Report) -> dict[str, Any]:
    declared, fields = attributes_of(kind), Fields(report, kind)
    nothing = f"{kind} has {', '.join(declared)}" if declared else f"{kind} has no attributes"
    fields.refuse_unknown(written, declared, hint=nothing)
    values = fields.read(written, declared)
    report.finish()
    if counted := [name for name, value in values.items() if value == WORD and declared[name].get("type") == "integer"]:
        raise NetspecError(f"{kind}: '{counted[0]}' must be a number here: without data there are no classes to count")
    return {**values, "groups": 1} if "groups" in values and values["groups"] is None else values
