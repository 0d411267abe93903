"""A View as Graphviz text."""

from __future__ import annotations

from collections.abc import Iterator

from netspec.graph.columns import Frame, frames_of
from netspec.graph.view import Link, Node, View, title
from netspec.units import many, size

_HEAD = """\
  rankdir=TB; newrank=true; labelloc=t; nodesep=0.3; ranksep=0.35;
  node [shape=box, style="rounded,filled", fillcolor=white, color="#8a94a6", fontname="Helvetica", fontsize=11];
  edge [color="#8a94a6", fontname="Helvetica", fontsize=10];"""
_LANES = ("#eaf0fd", "#e6f5f0", "#f2ebfb", "#fdf0e4")
_SHAPES = {"input": ', style="rounded,dashed"', "layer": "", "cost": ", shape=ellipse, style=filled"}


def write(shown: View) -> str:
    """A directed graph with a cluster for each device, and in it for each frame; layers of one name share a rank."""
    lines = [f"digraph {_quoted(shown.name)} {{", _HEAD, f"  label={_quoted(title(shown))};"]
    for number, (device, heading) in enumerate(shown.headings.items()):
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f'    style="filled,rounded"; color="{_LANES[number % len(_LANES)]}"; fontname="Helvetica";')
        lines.append(f"    label={_quoted(f'{device}: {heading}')};")
        nodes = [node for node in shown.nodes if node.device == device]
        lines += _nested(frames_of({0: nodes}), f"cluster_{number}", "    ")
        lines.append("  }")
    for name in dict.fromkeys(node.name for node in shown.nodes):
        same = [_quoted(str(node.key)) for node in shown.nodes if node.name == name]
        if len(same) > 1:
            lines.append(f"  {{ rank=same; {'; '.join(same)} }}")
    lines += [f"  {_quoted(str(link.source))} -> {_quoted(str(link.target))}{_style(link)};" for link in shown.links]
    return "\n".join([*lines, "}"]) + "\n"


def _nested(frame: Frame, name: str, indent: str) -> Iterator[str]:
    """The nodes of a frame, and clusters for those in it."""
    for node in frame.cells.get(0, ()):
        yield f"{indent}{_quoted(str(node.key))} [{_label(node)}];"
    for number, one in enumerate(frame.inner):
        yield f"{indent}subgraph {name}_{number} {{"
        yield f'{indent}  style=rounded; color="#8a94a6"; fontname="Helvetica"; label={_quoted(one.path[-1])};'
        yield from _nested(one, f"{name}_{number}", indent + "  ")
        yield indent + "}"


def _label(node: Node) -> str:
    words = [f"{node.name}: {node.type}", node.shape, ", ".join(node.details)]
    words.append(many(node.parameters, "parameter") if node.parameters else "")
    return f"label={_quoted(chr(10).join(word for word in words if word))}{_SHAPES[node.kind]}"


def _style(link: Link) -> str:
    if not link.crossing:
        return ""
    label = f", label={_quoted(size(link.bytes))}" if link.bytes else ""
    return f' [color="#d4521a", fontcolor="#d4521a", penwidth=2{label}]'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
