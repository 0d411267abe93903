"""The parts of the reference that are made of the code when the site is built, as Markdown.

A page leaves room for one with a line ``<!-- generated: NAME -->``, NAME being a function of ``PARTS``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

import netspec
from netspec.cli._main import COMMANDS, cli
from netspec.events import Event
from netspec.registry import registered
from netspec.report.layer_page import Attribute, Page, attribute, page
from netspec.spec.json_schema import schema

ROOT = Path(__file__).resolve().parent.parent
AS_COMMANDS = ("figures.",)
"""Kinds that no spec names; their types are commands."""
BY_TYPE = ("defaults", "augment")
"""Keys whose own keys are types, which have parts of the reference of their own."""
RESULTS = [
    "netspec._types.RunResult",
    "netspec._types.Trial",
    "netspec._types.Prediction",
    "netspec.evaluation.evaluation_result.Evaluation",
    "netspec.evaluation.feature_set.Features",
    "netspec.evaluation.neighbours.Neighbours",
    "netspec.runners.export.Exported",
    "netspec.runners.importing.Imported",
    "netspec.planning.plan.Plan",
    "netspec.report.rate_range.RateRange",
    "netspec.spec.types.Spec",
]
"""What the public functions give back."""
WIDTH = 86
"""Characters of a line that the site shows without scrolling."""
ROOM = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
MARKUP = re.compile(r"(``.*?``)|([\\*_\[\]<>|`])", re.DOTALL)


def filled(text: str) -> str:
    """A page with its generated parts in their places."""
    return ROOM.sub(lambda room: PARTS[room[1]](), text)


def contents(start: str) -> str:
    """The table of contents of the site: the pages that the start page links to, a part for each of its sections.

    A page stands where it is linked first, under the words of that link.
    """
    sections, listed = re.split(r"^## (.*)$", start, flags=re.MULTILINE)[1:], set[str]()
    parts = []
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        links = [link for link in re.findall(r"\[([^]]+)\]\(([^)#:]+)\.md\)", text) if link[1] not in listed]
        listed |= {target for _, target in links}
        pages = "".join(f"{words[0].upper()}{words[1:]} <{target}>\n" for words, target in links)
        parts.append(f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}```\n")
    return "".join(parts)


def prose(text: str) -> str:
    """Text of a docstring as Markdown: ``code`` stays code, all else stands for itself."""
    return MARKUP.sub(lambda part: part[1][1:-1] if part[1] else f"\\{part[2]}", text)


def table(header: str, rows: list[tuple[str, ...]]) -> str:
    """A Markdown table, or nothing where there are no rows."""
    if not rows:
        return ""
    titles = header.split(", ")
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def code(text: str) -> str:
    """A word or value as it is typed; nothing for nothing."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def layers() -> str:
    """Every layer type."""
    return "".join(_described(page(key)) for key in registered() if "." not in key)


def others() -> str:
    """Whatever else specs name, by kind."""
    keys = [key for key in registered() if "." in key and not key.startswith(AS_COMMANDS)]
    kinds = dict.fromkeys(key.partition(".")[0] for key in keys)
    return "".join(map(_kind, kinds, ([key for key in keys if key.startswith(f"{kind}.")] for kind in kinds)))


def _kind(kind: str, keys: list[str]) -> str:
    return f"## {kind.capitalize()}\n\n" + "".join(_described(page(key), "###") for key in keys)


def _described(one: Page, level: str = "##") -> str:
    formula, _, rest = one.text.partition("\n\n")
    shown = "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in formula.splitlines())
    facts = [f"- {name}: {code(text) if name == 'file' else prose(text)}\n" for name, text in one.facts.items()]
    return (
        f"{level} {prose(one.type)}\n\n{prose(one.summary)}\n\n```text\n{shown}\n```\n\n{prose(rest)}\n\n"
        + f"```yaml\n{one.example}\n```\n\n{''.join(facts)}\n"
        + table("attribute, value, default, meaning", [_row(row, "needed") for row in one.attributes])
        + table("kernels for, variants (best first)", list(_variants(one)))
    )


def _row(one: Attribute, absent: str) -> tuple[str, ...]:
    return code(one.name), prose(one.value), absent if one.default is None else code(one.default), prose(one.meaning)


def _variants(one: Page) -> Iterator[tuple[str, str]]:
    for backend in dict.fromkeys(row.backend for row in one.kernels):
        yield backend, ", ".join(code(row.variant) for row in one.kernels if row.backend == backend)


def commands() -> str:
    """Every command with its help."""
    context = click.Context(cli, info_name="netspec", **cli.context_settings)
    return "".join(
        f"## {title}\n\n" + "".join(_help(context, cli, name) for name in names) for title, names in COMMANDS.items()
    )


def _help(parent: click.Context, group: click.Group, name: str) -> str:
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, parent=parent, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    text = f"### {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n\n"
    inner = command.list_commands(context) if isinstance(command, click.Group) else []
    return text + "".join(_help(context, command, each) for each in inner)


def keys() -> str:
    """Every key of a spec but the attributes of layers and of other types."""
    whole: Mapping[str, Any] = schema()
    rows = list(_keys(whole["properties"], "")) + list(_keys(whole["$defs"]["layer"]["properties"], "layers."))
    written = [replace(row, default=row.default and row.default.replace("derived", "null")) for row in rows]
    return table("key, value, default, meaning", [_row(row, "") for row in written])


def _keys(properties: Mapping[str, Any], above: str) -> Iterator[Attribute]:
    for name, given in properties.items():
        one = _unfolded(given)
        inner = {} if name in BY_TYPE else one.get("properties") or {}
        entries = one.get("additionalProperties") or {}
        if "description" in one or not inner:
            said = {key: one[key] for key in ("description", "default") if key in one}
            yield attribute(above + name, {**given, **said})
        yield from _keys(inner, f"{above}{name}.")
        yield from _keys(entries.get("properties", {}), f"{above}{name}.NAME.")


def _unfolded(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with what its first alternative says besides."""
    return {**one["anyOf"][0], **one} if "anyOf" in one else one


def python() -> str:
    """The public functions and errors, what they give back, and the events that listeners hear."""
    names = [f"netspec.{name}" for name in netspec.__all__]
    parts = {"Functions and errors": names, "Results": RESULTS, "Events": [_name(one) for one in get_args(Event)]}
    return "".join(f"## {title}\n\n" + _documented(names) for title, names in parts.items())


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__name__}"


def _documented(names: list[str]) -> str:
    return "```{eval-rst}\n" + "\n".join(f".. auto{_how(name)}:: {name}\n" for name in names) + "```\n\n"


def _how(name: str) -> str:
    module, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(module), last)
    return "function" if inspect.isfunction(thing) else "exception" if issubclass(thing, Exception) else "class"


def plugin() -> str:
    """What ``netspec.plugin`` offers."""
    return "```{eval-rst}\n.. automodule:: netspec.plugin\n   :members:\n   :imported-members:\n```\n"


def folders() -> str:
    """The folders of the package with the first line of what they say of themselves."""
    files = [file for top in ("netspec", "layers", "runners") for file in (ROOT / top).rglob("__init__.py")]
    rows = [(code(f"{file.parent.relative_to(ROOT)}/"), prose(_about(file))) for file in sorted(files)]
    return table("folder, holds", rows)


def _about(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


PARTS = {make.__name__: make for make in (layers, others, commands, keys, python, plugin, folders)}
