"""``netspec completion``: the script by which a shell completes netspec's commands."""

from __future__ import annotations

import os
from pathlib import Path

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", metavar="[SHELL]", type=click.Choice(SHELLS), required=False)
def command(shell: str | None) -> None:
    """Print the script for bash, zsh or fish; by default for the shell that $SHELL names.

    It completes commands, options and their values: specs, runs, layer types, --set paths with the layers of the spec
    at hand, devices, tags, and files wherever a command takes one. Nothing of a spec or a plugin is run for that.

    \b
    Examples:
      eval "$(netspec completion bash)"      in ~/.bashrc
      eval "$(netspec completion zsh)"       in ~/.zshrc, behind compinit
      netspec completion fish > ~/.config/fish/completions/netspec.fish
    """
    chosen = shell or Path(os.environ.get("SHELL", "")).name
    if chosen not in SHELLS:
        raise click.UsageError(f"name the shell: {', '.join(SHELLS)}")
    click.echo(script(chosen), nl=False)


def script(shell: str) -> str:
    """The script for a shell."""
    return (Path(__file__).parent / "shell" / f"netspec.{shell}").read_text("utf-8")
