"""A click group that imports a command's module when the command is called, and not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import click

from netspec.cli._exit import ClosedPipeError
from netspec.errors import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Table = Mapping[str, Mapping[str, str]]
"""Section title -> command name -> what it does, in one line."""
_ALIKE, _SAME_BUT_FOR_THE_FIRST = 0.75, 0.9
"""How alike a misspelt name must be: 'vaildate' is 'validate', but neither 'evaluate' nor 'export' is any command."""


class LazyGroup(click.Group):
    """Commands found as ``<package>.<name>.command``; the table alone makes the list that ``--help`` prints.

    A - in a name is a _ in its module's, and a keyword of Python has a _ behind it. ``meant`` has what other programs
    call a command, and what to type here.
    """

    def __init__(
        self, *args: Any, package: str, table: Table, meant: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.package, self.table, self.meant = package, table, meant or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table."""
        return [name for section in self.table.values() for name in section]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of a command; None where there is no such command."""
        if name not in self.list_commands(ctx):
            return None
        module = f"{name}_" if iskeyword(name) else name.replace("-", "_")
        command: click.Command = importlib.import_module(f"{self.package}.{module}").command
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
        """As click's, with what was meant by a name that there is not."""
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-") or name in self.list_commands(ctx)):
            raise self.unknown(ctx, name)
        found = super().resolve_command(ctx, args)
        if ctx.resilient_parsing and found[1] is not None:  # a shell asks for completions
            from netspec.cli._completion import know

            know(found[1].params)
        return found

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """As click's, without importing every command for its help."""
        from click.shell_completion import CompletionItem

        self.list_commands(ctx)
        told = {name: text for section in self.table.values() for name, text in section.items()}
        found = [CompletionItem(name, help=text) for name, text in told.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def unknown(self, ctx: click.Context, name: str) -> click.UsageError:
        """What to tell of a name that is no command."""
        known = self.list_commands(ctx)
        guess = self.meant.get(name.lower(), "")
        if guess.partition(" ")[0] not in (*known, "--version"):
            guess = _nearest(name, known)
        way = ctx.command_path.replace(" ", " help ", 1) if " " in ctx.command_path else f"{ctx.command_path} help"
        remedy = f"did you mean '{guess}'?" if guess else f"{way} lists them"
        return click.UsageError(f"no such command '{printable(name)}' ({remedy})", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, section by section."""
        width = max(len(name) for name in self.list_commands(ctx))
        for title, section in self.table.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in section.items()])


def _nearest(name: str, known: Sequence[str]) -> str:
    """The command that a misspelt name is, if it is one."""
    from difflib import SequenceMatcher

    asked = name.lower()[:64]
    ratios = {command: SequenceMatcher(None, command, asked).ratio() for command in known}
    best = max(known, key=lambda command: ratios[command], default="")
    return best if best and ratios[best] >= (_ALIKE if best[0] == asked[:1] else _SAME_BUT_FOR_THE_FIRST) else ""
