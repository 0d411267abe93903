"""How a command ends: an exit code, and for whatever went wrong one message instead of a traceback."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from netspec.errors import NetspecError, NoSuchFile, Problem, SpecError, printable_lines
from netspec.exit_codes import INTERNAL, INTERRUPTED, KINDS, USAGE, WRONG

_PLACE = ("file", "line", "column")


class ClosedPipeError(Exception):
    """A broken pipe on its way past click, which would end the process on any, be it stdout or a worker's."""

    def __init__(self, reason: BrokenPipeError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def guarded(action: Callable[[], Any], as_json: bool = False) -> int:
    """Run a command and give its exit code; what it raises becomes a message on stderr, in JSON where asked."""
    try:
        code = action()
        sys.stdout.flush()
    except BaseException as error:
        return _explain(error, as_json)
    return code if isinstance(code, int) else 0


def _explain(error: BaseException, as_json: bool) -> int:
    error = error.reason if isinstance(error, ClosedPipeError) else error
    if isinstance(error, BrokenPipeError) and _nobody_reads():
        return _leave_quietly()
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else WRONG
    if os.environ.get("NETSPEC_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    code, message = _verdict(error)
    if code != INTERRUPTED and not isinstance(error, NetspecError):
        message = ": ".join((*getattr(error, "__notes__", ()), message))  # which process of a run it was
    if as_json:
        click.echo(_as_json(error, code, message), err=True)
    elif isinstance(error, click.ClickException):
        error.show()
    elif isinstance(error, SpecError):
        complain_spec(error)
    elif code == INTERRUPTED:
        click.echo(message if isinstance(error, click.Abort) else f"\n{message}", err=True)  # click ended the line
    else:
        complain(message)
    return code


def _verdict(error: BaseException) -> tuple[int, str]:
    """The exit code of an error, and the error in words."""
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message()
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED, "interrupted"
    if isinstance(error, NetspecError):
        return USAGE if isinstance(error, NoSuchFile) else WRONG, str(error)
    if isinstance(error, OSError) and error.strerror:
        return WRONG, f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
    if isinstance(error, MemoryError):
        reason = f"out of memory{f': {error}' if str(error) else ''}"
        return WRONG, f"{reason} (a smaller --batch takes less{'; ' if _limit() else ''}{_limit()})"
    if isinstance(error, ImportError | OSError) and _limit():  # of a library for which there is no room
        return WRONG, f"{error} ({_limit()})"
    told = f"internal error: {type(error).__name__}: {error}"
    return INTERNAL, f"{told} (a fault of netspec; NETSPEC_DEBUG=1 shows where)"


def _as_json(error: BaseException, code: int, message: str) -> str:
    """An error in one line: what kind, in words, and all problems of a spec with their places."""
    problems = map(located, error.problems) if isinstance(error, SpecError) else ()
    told = {"kind": KINDS[code][0], "exit_code": code, "message": message, "problems": list(problems)}
    return json.dumps({"error": told})


def located(problem: Problem) -> dict[str, Any]:
    """A problem of a spec as plain data; file, line and column are null where it has no place.

    ``used_at`` is there for what a block says: where the block is used, the innermost use first.
    """
    mark = problem.mark
    place = {"file": mark.file, "line": mark.line, "column": mark.column} if mark else dict.fromkeys(_PLACE)
    used = {"used_at": [str(use) for use in uses]} if (uses := problem.uses()) else {}
    return {**place, "message": problem.message, "remedy": problem.remedy, **used}


def _limit() -> str:
    """The limit on this process's memory, where it has one."""
    from netspec.units import size

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return "" if soft == resource.RLIM_INFINITY else f"memory is limited to {size(soft)} by ulimit -v"


def complain(message: str) -> None:
    """One message on stderr, its first word in red where colours are wanted."""
    click.echo(f"{colour('error:', 'red')} {printable_lines(message)}", err=True, color=True)


def warn(lines: Iterable[str]) -> None:
    """Lines on stderr, on what was left out of an answer."""
    for line in lines:
        click.echo(f"{colour('warning:', 'yellow')} {printable_lines(line)}", err=True, color=True)


def complain_spec(error: SpecError) -> None:
    """All problems of a spec on stderr, each with its line and a caret."""
    from netspec.spec import render

    columns = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    click.echo(render(error, columns), err=True)
    for note in getattr(error, "__notes__", ()):  # which process of a run it was
        click.echo(f"      = note: {note}", err=True)


def colour(text: str, name: str) -> str:
    """The text in a colour where stderr is a terminal that shows them; NO_COLOR and FORCE_COLOR overrule."""
    variables = os.environ
    if variables.get("NO_COLOR") or variables.get("TERM") in ("dumb", "unknown"):
        return text
    return click.style(text, fg=name, bold=True) if variables.get("FORCE_COLOR") or sys.stderr.isatty() else text


def _nobody_reads() -> bool:
    """Whether the reader of stdout has gone (``| head``)."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):  # no file behind stdout
        return False


def _leave_quietly() -> int:
    """Nothing is left to say, now or at shutdown."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
