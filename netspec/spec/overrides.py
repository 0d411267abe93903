"""``--set PATH=VALUE``: a change of one value, laid over the spec as a spec that extends it would be."""

from __future__ import annotations

from netspec.errors import Mark
from netspec.spec.nodes import Entry, List, Map, Node, Scalar
from netspec.spec.problems import Report
from netspec.spec.reader import parse

FILE = "--set"
_FIXED = {"extends": "write a spec that extends the other", "netspec": "it is the version of the spec's language"}
"""Keys that belong to a file, each with a remedy."""


def as_tree(assignment: str, index: int, report: Report) -> Map | None:
    """The assignment as a tree of one value; None, with a problem, where it is none.

    ``index`` counts the assignments of one command line from 0; it stands as the line in messages.
    """
    line = f"{FILE} {assignment}"
    path, equals, value = assignment.partition("=")
    whole = Mark(FILE, index + 1, len(FILE) + 2, line, max(len(assignment), 1))
    if not equals or not path.strip() or not assignment.isprintable():
        report.note(whole, "not of the form PATH=VALUE", "as in train.solver.learning_rate=0.02")
        return None
    marks = _segments(path, line, index)
    if any(not segment for segment, _ in marks):
        empty = next(mark for segment, mark in marks if not segment)
        report.note(empty, "a path has names between its dots", "as in layers.conv1.filters")
        return None
    indent = len(FILE) + 1 + len(path) + 1
    before = len(report.problems)
    node = parse(value, FILE, report.problems, row=index, indent=indent, line=line)
    if len(report.problems) > before:
        return None
    return _nest(marks, node or Scalar(None, "", Mark(FILE, index + 1, indent, line)), report)


def assigns(assignment: str, path: str) -> bool:
    """Whether the assignment gives a value to the path, by itself or as a part of a map."""
    if assignment.partition("=")[0].strip() == path:
        return True
    node: Node | None = as_tree(assignment, 0, Report())
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Map) else None
    return node is not None


def _segments(path: str, line: str, index: int) -> list[tuple[str, Mark]]:
    column = len(FILE) + 2
    marks = []
    for segment in path.split("."):
        marks.append((segment, Mark(FILE, index + 1, column, line, max(len(segment), 1))))
        column += len(segment) + 1
    return marks


def _nest(path: list[tuple[str, Mark]], value: Node, report: Report) -> Map | None:
    """``a.b=v`` as ``{a: {b: v}}``, and ``layers.conv1.k=v`` as a list of one named layer, in a block too."""
    if path[0][0] in _FIXED:
        report.note(path[0][1], f"'{path[0][0]}' cannot be set", _FIXED[path[0][0]])
        return None
    at = 2 if path[0][0] == "blocks" else 0
    if len(path) > at + 1 and path[at][0] == "layers":
        (_, layers), (name, mark) = path[at : at + 2]
        body = _maps(path[at + 2 :], value)
        if not isinstance(body, Map):
            report.note(body.mark, f"'layers.{name}' must be a map", f"as in layers.{name}.filters=64")
            return None
        named = Map({"name": Entry(mark, Scalar(name, name, mark)), **body.entries}, mark)
        path, value = path[: at + 1], List((named,), layers)
    tree = _maps(path, value)
    return tree if isinstance(tree, Map) else None


def _maps(path: list[tuple[str, Mark]], value: Node) -> Node:
    for segment, mark in reversed(path):
        value = Map({segment: Entry(mark, value)}, mark)
    return value
