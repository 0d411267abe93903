"""How values of each kind of parameter are completed; kinds are told by the metavars that help texts show."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from netspec.cli._runs import OUT

Completer = Callable[[click.Context, str], "list[CompletionItem[str]]"]  # quoted: click 8.2 has no generic one
Values = Callable[[click.Context, str], Iterable[tuple[str, str]]]
"""Values with what they are; of those that do not go on from the word none are offered."""

_PACKAGE = Path(__file__).parents[1]
FILES, DIRS = CompletionItem("", type="file"), CompletionItem("", type="dir")


def completer_of(parameter: click.Parameter) -> Completer | None:
    """How a parameter's values are completed; None where click knows, or nobody."""
    if isinstance(parameter, click.Option) and (parameter.is_flag or isinstance(parameter.type, click.Choice)):
        return None
    kinds = _KINDS_OF.get(parameter.name or "") or _kinds(parameter.metavar or "")
    return partial(_complete, kinds) if kinds else None


def _kinds(metavar: str) -> tuple[str, ...]:
    parts = metavar.strip("[]").removesuffix("...").split("|")
    return tuple(part for part in parts if part in _VALUES or part in _PATHS)


def _complete(kinds: Iterable[str], ctx: click.Context, word: str) -> list[CompletionItem[str]]:
    found: dict[str, CompletionItem[str]] = {}
    for kind in kinds:
        for value, about in _VALUES[kind](ctx, word) if kind in _VALUES else ():
            if value.startswith(word):
                found.setdefault(value, CompletionItem(value, help=about))
    paths = [_PATHS[kind] for kind in kinds if kind in _PATHS]
    return [*found.values(), *(FILES if FILES in paths else path for path in paths[:1])]


def _specs(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    from netspec._paths import specs_folder
    from netspec.report.spec_list import spec_list

    for one in spec_list(specs_folder()):
        yield one.name, one.summary


def _runs(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    """Folders of runs; of the runs in them, which are files as any, the shell knows."""
    for name in _networks():
        yield f"{OUT}/{name}", "its newest run, or all"


def _names(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    for name in _networks():
        yield name, "its runs"


def _networks() -> list[str]:
    try:
        with os.scandir(OUT) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and entry.name.isprintable())
    except OSError:
        return []


def _tags(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    """The tags of runs, in files that are small."""
    from netspec.errors import NetspecError
    from netspec.rundir.tags import FILE, read_tags

    for file in Path(OUT).glob(f"*/*/{FILE}"):
        try:
            yield from ((tag, "") for tag in read_tags(file.parent).tags)
        except NetspecError:
            continue


def _types(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    """Layer types and augmentations are called as their files are."""
    from netspec._paths import layers_folder

    yield from ((name, "") for name in _named_by_files(layers_folder(), _PACKAGE / "data" / "augment"))


def _callbacks(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    """Called as their files are."""
    yield from ((name, "") for name in _named_by_files(_PACKAGE / "callbacks"))


def _metrics(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    yield from ((name, "") for name in _named_by_files(_PACKAGE / "metrics"))


def _named_by_files(*folders: Path) -> list[str]:
    return [file.stem for folder in folders for file in sorted(folder.glob("[a-z]*.py"))]


def _layers(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    from netspec.cli._set_paths import layers_at

    yield from layers_at(ctx.obj).items()


def _assignments(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    from netspec.cli._set_paths import assignments

    return assignments(word, ctx.obj)


def _attributes(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    """The attributes of the first layer type in the line, each with an equals sign behind it; built-in types alone."""
    from netspec._paths import layers_folder

    known = _named_by_files(layers_folder())
    if kind := next((given for given in ctx.obj[2:] if given in known), None):
        from netspec.registry import layer_types

        attrs = layer_types()[kind].attrs
        yield from ((f"{name}=", str(schema.get("description", ""))) for name, schema in attrs.items())


def _commands(ctx: click.Context, word: str) -> Iterator[tuple[str, str]]:
    at = ctx.find_root().command
    for name in ctx.params.get("names") or ():
        at = at.get_command(ctx, name) if isinstance(at, click.Group) else None  # type: ignore[assignment]
    if isinstance(at, click.Group):
        yield from ((item.value, item.help or "") for item in at.shell_complete(ctx, word))


def _fixed(*values: str) -> Values:
    return lambda ctx, word: ((value, "") for value in values)


_DEVICES = ("cpu", "cuda", "cpu:0", "cpu:0,cpu:1", "cuda:0", "cuda:0,cuda:0", "cuda:0,cuda:1")
_VALUES: Mapping[str, Values] = {
    "SPEC": _specs,
    "RUN": _runs,
    "latest": _fixed("latest"),
    "NAME": _names,
    "TAG": _tags,
    "TYPE": _types,
    "CALLBACK": _callbacks,
    "METRIC": _metrics,
    "LAYER": _layers,
    "PATH=VALUE": _assignments,
    "PATH=[V, V]": _assignments,
    "ATTR=VALUE": _attributes,
    "NAME,NAME": _fixed(*_DEVICES),
    "COMMAND": _commands,
    "runner": _fixed("local", "serial"),
    "seed": _fixed(*map(str, range(10))),
    "seeds": _fixed("0..2", "0..4", "0..9"),
    "batch": _fixed(*(str(2**power) for power in range(4, 10))),
}
_PATHS = {
    "SPEC": FILES,
    "RUN": FILES,
    "FILE": FILES,
    "IMAGE": FILES,
    "TRACE": FILES,
    "TYPE": FILES,
    "DIR": DIRS,
}
_KINDS_OF = {
    "data": ("FILE",),  # an archive will do
    "layer": ("LAYER",),
    "runner": ("runner",),
    "seed": ("seed",),
    "seeds": ("seeds",),
    "batch": ("batch",),
}
"""By the names of parameters whose metavars do not tell."""
