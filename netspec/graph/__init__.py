"""Pictures of a Plan: devices as lanes, layers as boxes, crossings marked. Text only, so no library is needed."""

from __future__ import annotations

from netspec.errors import NetspecError
from netspec.graph import dot, mermaid, svg
from netspec.graph.view import view
from netspec.planning.plan import Plan

_WRITERS = {"svg": svg.write, "mmd": mermaid.write, "dot": dot.write}
FORMATS = tuple(_WRITERS)
"""SVG, Mermaid and Graphviz, by the ending of the file."""


def draw(plan: Plan, format: str) -> str:
    """The network as ``svg``, ``mmd`` or ``dot`` text.

    Raises NetspecError for another format.
    """
    if format not in _WRITERS:
        raise NetspecError(f"cannot draw '{format}': the formats are {', '.join(FORMATS)}")
    return _WRITERS[format](view(plan))
