"""A click group that imports a command's module when the command is called, and not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from netspec.cli._exit import ClosedPipeError

Table = Mapping[str, Mapping[str, str]]
"""Section title -> command name -> what it does, in one line."""


class LazyGroup(click.Group):
    """Commands found as ``<package>.<name>.command``; the table alone makes the list that ``--help`` prints."""

    def __init__(self, *args: Any, package: str, table: Table, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package, self.table = package, table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table."""
        return [name for section in self.table.values() for name in section]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of a command; None where there is no such command."""
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{self.package}.{name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, but a broken pipe is left to ``guarded``."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ClosedPipeError(error) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name for a misspelt one."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            from netspec.spec.wording import meant

            raise click.UsageError(f"no such command '{name}' ({meant(name, known)})", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, section by section."""
        width = max(len(name) for name in self.list_commands(ctx))
        for title, section in self.table.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in section.items()])
