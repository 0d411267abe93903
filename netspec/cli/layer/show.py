"""``netspec layers show``: a layer type's documentation."""

from __future__ import annotations

from pathlib import Path

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins
from netspec.cli._stdin import STDIN, stdin_plugin
from netspec.errors import NetspecError


@click.command()
@click.argument("types", metavar="TYPE|FILE...", nargs=-1, required=True)
@options.plugins
@options.as_json
def command(types: tuple[str, ...], plugins: tuple[str, ...], as_json: bool) -> None:
    """What a layer type does: formula, inputs, outputs, attributes with their defaults, kernels for each backend.

    Tells of augmentations too.

    \b
    Examples:
      netspec layers show lrn
      netspec layers show colour
      netspec layers show my_layer.py
    """
    from netspec.report.layer_page import page, parts
    from netspec.report.tables import show

    load_plugins(plugins)
    pages = [page(name) for given in types for name in named(given)]
    if as_json:
        emit_json(pages)
        return
    for each in pages:
        show(*parts(each))


def named(given: str) -> tuple[str, ...]:
    """What a TYPE or a plugin stands for, as in netspec.registry.registered; NetspecError where there is none.

    ``-`` is a plugin on standard input. What is no layer may be called by its name alone, where one thing has it.
    """
    from netspec.registry import layer_types, registered, types_in
    from netspec.spec.wording import meant

    if given == STDIN:
        return types_in(stdin_plugin())
    types, known = layer_types(), registered()
    found = [given] if given in known else [key for key in known if key.partition(".")[2] == given]
    if len(found) > 1:
        raise NetspecError(f"'{given}' is the name of several: {', '.join(found)}")
    if found:
        return (found[0],)
    if Path(given).suffix == ".py" or Path(given).exists():
        return types_in(given)
    remedy = meant(given, types)
    raise NetspecError(f"unknown layer type '{given}'{f' ({remedy})' if remedy else ''}")
