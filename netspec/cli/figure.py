"""``netspec figure``: pictures for a paper. Each kind is a command, made from what its class declares."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._group import LazyGroup
from netspec.cli._output import emit_json
from netspec.cli._runs import all_runs, newest_run
from netspec.cli._specs import load_plugins
from netspec.machine.atomic_files import told
from netspec.machine.names import nearer

if TYPE_CHECKING:
    from netspec.figures import Kind


class FigureGroup(LazyGroup):
    """The kinds of figures as commands."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, package="", table={}, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The kinds, found by their files."""
        from netspec.figures import figure_kinds

        self.table = {"Kinds": {name: cls.summary() for name, cls in figure_kinds().items()}}
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of a kind; None where there is no such kind."""
        from netspec.figures import figure_kinds

        cls = figure_kinds().get(name)
        return None if cls is None else _command(name, cls)


@click.group(cls=FigureGroup)
def command() -> None:
    """Draw runs and networks for a paper: SVG, PNG or PDF at paper size, by the ending of the file.

    Needs matplotlib: pip install 'netspec[figures]'. The same runs give the same bytes.

    \b
    Examples:
      netspec figure curves runs/quickstart/* -o curves.svg
      netspec figure filters runs/alexnet/2026-01-31_12-00-00 -o figure3.png
      netspec figure filters --help
    """


def _command(name: str, cls: type[Kind]) -> click.Command:
    examples = "\n".join(("\b", "Examples:", *(f"  {line}" for line in cls.examples)))
    several = "" if cls.most == 1 else "..."
    parameters = [
        click.Argument(["of"], metavar=f"{cls.takes}{several}", nargs=-1, required=True),
        click.Option(["-o", "--output"], metavar="FILE", callback=_check_ending, help="Ends with .svg, .png or .pdf."),
        *(_option(attr, schema) for attr, schema in cls.attrs.items()),
        click.Option(["--label", "labels"], metavar="TEXT", multiple=True, help="A name for each, in their order."),
    ]
    made = click.Command(
        name,
        params=parameters,
        callback=lambda **given: _draw(name, **given),
        short_help=cls.summary(),
        help=f"{inspect.getdoc(cls)}\n\nA folder of runs stands for {_MEANT[cls.of_folder]}.\n\n{examples}",
    )
    return options.as_json(options.plugins(options.trust(made)))


def _option(name: str, schema: Mapping[str, Any]) -> click.Option:
    """The option of a setting, by its JSON Schema."""
    flag = f"--{name.replace('_', '-')}"
    shared: dict[str, Any] = {"help": schema.get("description", "")}
    if schema["type"] == "boolean":
        return click.Option([flag, name], is_flag=True, default=schema["default"], **shared)
    if schema["type"] == "array":
        return click.Option([flag, name], metavar="NAME", multiple=True, **shared)
    default = schema.get("default")
    shared |= {"type": _type(schema), "default": default, "show_default": default not in ("", None)}
    return click.Option([flag, name], metavar=None if "enum" in schema else _METAVARS[schema["type"]], **shared)


_METAVARS = {"integer": "N", "number": "X", "string": "NAME"}


def _type(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return click.Choice(schema["enum"])
    if schema["type"] == "string":
        return str
    least, most = (schema.get(f"exclusiveM{end}", schema.get(f"m{end}")) for end in ("inimum", "aximum"))
    if schema["type"] == "integer":
        return click.IntRange(least, most)
    return click.FloatRange(least, most, min_open="exclusiveMinimum" in schema, max_open="exclusiveMaximum" in schema)


def _check_ending(ctx: click.Context, param: click.Parameter, output: str | None) -> str | None:
    from netspec.figures import FORMATS

    if output is not None and Path(output).suffix.lower().removeprefix(".") not in FORMATS:
        raise click.UsageError(f"{output}: the name must end with .svg, .png or .pdf")
    return output


def _draw(
    kind: str, of: tuple[str, ...], output: str | None, plugins: tuple[str, ...], as_json: bool, **given: Any
) -> None:
    if output is None and not as_json:
        raise click.UsageError("-o FILE says where to write the picture: .svg, .png or .pdf")
    load_plugins(plugins)
    of = _runs_of(kind, of)
    draw(kind, of, output, as_json, **given)


_MEANT = {"all": "all of them, in the order in which they began", "newest": "the newest of them"}


def _runs_of(kind: str, of: tuple[str, ...]) -> tuple[str, ...]:
    """What is named, with folders of runs as the kind takes them; a shipped spec's name is that, where it takes one."""
    from netspec.figures import figure_kinds
    from netspec.spec import files

    cls = figure_kinds()[kind]
    if cls.of_folder == "all":
        return all_runs(of)
    specs = files.shipped() if cls.takes.startswith("SPEC") else ()
    return tuple(one if one in specs else newest_run(one, trained=cls.takes == "RUN") for one in of)


def draw(kind: str, of: tuple[str, ...], output: str | None, as_json: bool, **given: Any) -> None:
    """Read a picture's data, write the picture, print its lines, or its numbers as JSON."""
    from netspec.figures import picture
    from netspec.figures._style import check_installed
    from netspec.report.progress import shown

    if output is not None:
        check_installed()
    with shown(f"drawing {kind}"):
        made = picture(kind, of, tell=lambda line: click.echo(f"note: {line}", file=sys.stderr), **given)
        if output is not None:
            written = made.render(Path(output).suffix.lower().removeprefix("."))
    if output is not None:
        with told(output):
            Path(output).write_bytes(written)
    if as_json:
        emit_json(made.numbers)
    for line in () if as_json else made.lines:
        click.echo(line)
    if output is not None:
        click.echo(f"wrote {nearer(output)}", err=as_json)
