"""``netspec help``: what ``--help`` says, asked for the other way round."""

from __future__ import annotations

import click


@click.command()
@click.argument("names", metavar="[COMMAND...]", nargs=-1)
@click.pass_context
def command(context: click.Context, names: tuple[str, ...]) -> None:
    """What a command does and takes, as COMMAND --help has it; without COMMAND the list of all.

    \b
    Examples:
      netspec help run
      netspec help layers show
      netspec help figure curves
    """
    at = context.find_root()
    for name in names:
        at = _below(at, name)
    click.echo(at.get_help())


def _below(at: click.Context, name: str) -> click.Context:
    """The context of a command in the group of another; UsageError where there is none of that name."""
    group = at.command
    if not isinstance(group, click.Group):
        raise click.UsageError(f"{at.command_path} has no commands of its own", at)
    found, command, _ = group.resolve_command(at, [name])
    assert command is not None
    return click.Context(command, info_name=found, parent=at, **command.context_settings)
