"""The report: all that was measured as JSON, and as tables for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FIRST = {
    "machine": "the machine",
    "architecture": "code for this card",
    "graphs": "graph capture",
    "launches": "a launch costs",
    "kernels": "all kernels on this card",
    "right, float32": "float32 against CPUs",
    "right, tf32": "tf32 against CPUs",
    "right, bf16": "bf16 against CPUs",
    "training, bf16": "AlexNet in bf16",
    "training, tf32": "AlexNet in tf32",
    "against PyTorch": "against PyTorch's best",
    "steps, bf16": "its steps",
    "against cuDNN": "its convolutions",
    "memory": "its memory",
    "iteration": "an iteration of a small network",
    "learns": "learning",
    "tests": "tests on the card",
    "sanitizer": "compute-sanitizer",
}
"""Sections whose answer is a line at the top."""
_TOLD = ("architecture", "graphs", "launches")


def write(folder: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """report.json and report.md, whole after every section."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(sections, indent=1, default=str) + "\n")
    (folder / "report.md").write_text(markdown(sections))


def answers(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The first lines."""
    lines = []
    for name, words in FIRST.items():
        found = sections.get(name, {})
        lines.append(f"- {words}: {found.get('answer') or found.get('failed') or 'not asked'}")
    return lines


def markdown(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The report for people."""
    parts = ["# netspec on a GPU", "", *answers(sections), ""]
    for name, section in sections.items():
        if name in _TOLD and "failed" not in section:
            continue
        plain = {key: value for key, value in section.items() if key not in ("rows", "traceback", "log")}
        parts += [f"## {name}", "", *(f"- {key}: {_text(value)}" for key, value in plain.items()), ""]
        if "failed" in section:
            parts += ["```", *_ends(section), "```", ""]
        if section.get("rows"):
            parts += [*_table(section["rows"]), ""]
    return "\n".join(parts)


def _ends(section: Mapping[str, Any], lines: int = 25) -> list[str]:
    """The last lines of a failed section's traceback and of its log."""
    texts = (section.get("traceback", ""), section.get("log", ""))
    return [line for text in texts for line in text.strip().splitlines()[-lines:]]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    return lines + [f"| {' | '.join(_text(row.get(head)) for head in heads)} |" for row in rows]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "; ".join(map(_text, value))
    return "" if value is None else str(value)
