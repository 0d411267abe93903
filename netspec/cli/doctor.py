"""``netspec doctor``: is this machine ready?"""

from __future__ import annotations

from collections.abc import Set

import click

from netspec._version import __version__
from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.exit_codes import WRONG

_COLOURS = {"ok": "green", "remark": "yellow", "broken": "red"}


@click.command()
@options.as_json
def command(as_json: bool) -> int:
    """Check that this machine is ready: Python, packages, processor, GPUs, folders, a compiled kernel.

    Exits with 1 when something is broken. Its output belongs into a report of a fault.
    """
    from netspec.report.health import examine

    if as_json:
        findings = list(examine())
        emit_json({"netspec": __version__, "findings": findings})
        return _code({finding.status for finding in findings})
    click.echo(f"netspec {__version__}")
    seen = set()
    for finding in examine():
        seen.add(finding.status)
        status = click.style(f"{finding.status:<6}", fg=_COLOURS[finding.status])
        click.echo(f"{status}  {finding.name:<13}  {finding.text}")
        if finding.remedy:
            click.echo(f"{'':<23}{finding.remedy}")
    return _code(seen)


def _code(seen: Set[str]) -> int:
    return WRONG if "broken" in seen else 0
