"""``netspec doctor``: is this machine ready?"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from textwrap import indent, wrap

import click

from netspec._version import __version__
from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.exit_codes import WRONG

_COLOURS = {"ok": "green", "remark": "yellow", "broken": "red"}
_INDENT = 23
"""Cells before a finding's text."""


@click.command()
@click.argument("run", required=False)
@click.option("--report", is_flag=True, help="Print what a bug report needs, without paths and names.")
@options.as_json
def command(run: str | None, report: bool, as_json: bool) -> int:
    """Check that this machine is ready: Python, packages, processor, GPUs, folders, a compiled kernel.

    Exits with 1 when something is broken. With --report it prints Markdown for a bug report, and of a RUN the spec, the
    environment and the end of the log; paths, user, host and class names are replaced. Read it before you send it.

    \b
    Examples:
      netspec doctor
      netspec doctor --report runs/alexnet/2026-01-31_12-00-00 > report.md
    """
    from netspec.report.health import examine
    from netspec.report.tables import terminal_width

    if run is not None and not report:
        raise click.UsageError("a RUN is for --report")
    if report:
        return _report(run, as_json)
    if as_json:
        findings = list(examine())
        emit_json({"netspec": __version__, "findings": findings})
        return _code({finding.status for finding in findings})
    click.echo(f"netspec {__version__}")
    seen, width = set(), terminal_width()
    for finding in examine():
        seen.add(finding.status)
        status = click.style(f"{finding.status:<6}", fg=_COLOURS[finding.status])
        text = "\n".join(line for part in (finding.text, finding.remedy) for line in _wrapped(part, width - _INDENT))
        click.echo(f"{status}  {finding.name:<13}  {indent(text, ' ' * _INDENT).lstrip()}")
    return _code(seen)


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, max(width, _INDENT), break_long_words=False, break_on_hyphens=False)


def _report(run: str | None, as_json: bool) -> int:
    from netspec.report.fault_report import fault_report
    from netspec.report.health import examine

    findings = list(examine())
    text = fault_report(findings, None if run is None else Path(run))
    if as_json:
        emit_json({"netspec": __version__, "report": text})
    else:
        click.echo(text, nl=False)
    return _code({finding.status for finding in findings})


def _code(seen: Set[str]) -> int:
    return WRONG if "broken" in seen else 0
