"""A View as a Mermaid flowchart, which GitHub and many editors draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netspec.graph.columns import Frame, frames_of
from netspec.graph.view import Link, Node, NodeKey, View, title
from netspec.units import many, size

_CROSSING = "stroke:#d4521a,stroke-width:3px,color:#d4521a"


def write(shown: View) -> str:
    """Mermaid text: a subgraph for each device, and in it for each frame, crossings thick and labelled."""
    ids = {node.key: f"n{number}" for number, node in enumerate(shown.nodes)}
    lines = ["---", f"title: {_quoted(title(shown))}", "---", "flowchart TB"]
    for number, (device, heading) in enumerate(shown.headings.items()):
        lines.append(f"  subgraph d{number}[{_quoted(f'{device}<br/>{heading}')}]")
        nodes = [node for node in shown.nodes if node.device == device]
        lines += _nested(frames_of({0: nodes}), f"d{number}", "    ", ids)
        lines.append("  end")
    lines += [f"  {ids[link.source]} {_arrow(link)} {ids[link.target]}" for link in shown.links]
    crossings = [str(number) for number, link in enumerate(shown.links) if link.crossing]
    if crossings:
        lines.append(f"  linkStyle {','.join(crossings)} {_CROSSING}")
    return "\n".join(lines) + "\n"


def _nested(frame: Frame, name: str, indent: str, ids: Mapping[NodeKey, str]) -> Iterator[str]:
    """The nodes of a frame, and subgraphs for those in it."""
    for node in frame.cells.get(0, ()):
        yield f"{indent}{ids[node.key]}{_box(node)}"
    for number, one in enumerate(frame.inner):
        yield f"{indent}subgraph {name}_{number}[{_quoted(one.path[-1])}]"
        yield from _nested(one, f"{name}_{number}", indent + "  ", ids)
        yield indent + "end"


def _box(node: Node) -> str:
    words = [f"<b>{node.name}</b> {node.type}", node.shape, ", ".join(node.details)]
    words.append(many(node.parameters, "parameter") if node.parameters else "")
    text = _quoted("<br/>".join(word for word in words if word))
    return {"input": f"([{text}])", "layer": f"({text})", "cost": f"{{{{{text}}}}}"}[node.kind]


def _arrow(link: Link) -> str:
    if not link.crossing:
        return "-->"
    return f"== {_quoted(size(link.bytes))} ==>" if link.bytes else "==>"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "#quot;") + '"'
