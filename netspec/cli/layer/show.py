"""``netspec layers show``: a layer type's documentation."""

from __future__ import annotations

from pathlib import Path

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins
from netspec.errors import NetspecError


@click.command()
@click.argument("types", metavar="TYPE|FILE...", nargs=-1, required=True)
@options.plugins
@options.as_json
def command(types: tuple[str, ...], plugins: tuple[str, ...], as_json: bool) -> None:
    """What a layer type does: formula, inputs, outputs, attributes with their defaults, kernels for each backend.

    \b
    Examples:
      netspec layers show lrn
      netspec layers show my_layer.py
    """
    from netspec.registry import layer_types
    from netspec.report.layer_page import page, parts
    from netspec.report.tables import show

    load_plugins(plugins)
    pages = [page(layer_types()[name]) for given in types for name in named(given)]
    if as_json:
        emit_json(pages)
        return
    for each in pages:
        show(*parts(each))


def named(given: str) -> tuple[str, ...]:
    """The layer types that a TYPE or a plugin FILE stands for; NetspecError where there is none."""
    from netspec.registry import layer_types, load_plugin
    from netspec.spec.wording import meant

    types = layer_types()
    if given in types:
        return (given,)
    if Path(given).suffix == ".py" or Path(given).is_file():
        return _of_builtin(Path(given)) or load_plugin(given)
    remedy = meant(given, types)
    raise NetspecError(f"unknown layer type '{given}'{f' ({remedy})' if remedy else ''}")


def _of_builtin(file: Path) -> tuple[str, ...]:
    """Types of a file that is already loaded, such as a built-in layer's."""
    import sys

    from netspec.registry import layer_types

    where = str(file.resolve())
    return tuple(
        name
        for name, cls in layer_types().items()
        if getattr(sys.modules[cls.__module__], "__file__", None) == where
    )
