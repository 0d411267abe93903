"""``netspec watch``: the page of runs, while they go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import click

from netspec.cli import _options as options
from netspec.cli._exit import warn
from netspec.cli._runs import all_runs
from netspec.exit_codes import TERMINATED

_NICE = 10
"""The training comes first."""


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--host", metavar="NAME", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8012,
    show_default=True,
    help="The port to listen at; 0: any free one.",
)
@options.data
@options.devices
@options.plugins
@options.trust
def command(
    runs: tuple[str, ...], host: str, port: int, data: str | None, devices: str | None, plugins: tuple[str, ...]
) -> None:
    """Serve the page of netspec report on this machine while runs go on, refreshed as they do.

    Results, curves and data seen follow the metrics; what needs the network is made anew of each better checkpoint, in
    the background, by one process that gives way to the training. Nobody but this machine can read the page, unless
    --host says otherwise, and nothing can be changed by it. A folder of runs stands for those that lie there when it
    begins. Ctrl-C ends it.

    \b
    Examples:
      netspec watch runs/alexnet/2026-01-31_12-00-00
      netspec watch runs/quickstart/* --port 0
      ssh -L 8012:localhost:8012 MACHINE    then open http://localhost:8012/ here
    """
    from netspec.cli._specs import load_plugins
    from netspec.figures._style import check_installed as check_figures
    from netspec.page.server import check_installed, is_local, listening, serve
    from netspec.page.watched import Watched

    check_installed()
    check_figures()
    load_plugins(plugins)
    given = {name: value for name, value in (("data", data), ("devices", devices)) if value}
    watched = Watched([Path(run) for run in all_runs(runs)], given, plugins)
    with listening(host, port) as bound:
        address, number = bound.getsockname()[:2]
        if not is_local(bound):
            warn([f"whoever reaches {host} can read these runs, with their images: there is no password"])
        shown = f"[{address}]" if ":" in address else address

        def serving() -> None:
            click.echo(f"http://{shown}:{number}/ has the page; {_how_to_end()} ends it")
            serve(watched, bound, host)

        with closing(watched):
            os.nice(_NICE)
            terminated = _until_signalled(serving)
    raise SystemExit(TERMINATED) if terminated else KeyboardInterrupt


def _how_to_end() -> str:
    """Shells start the background jobs of scripts with SIGINT ignored."""
    return f"kill {os.getpid()}" if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else "Ctrl-C"


def _until_signalled(serving: Callable[[], None]) -> bool:
    """Serve until SIGINT or SIGTERM, by either of which the server returns; whether it was SIGTERM."""
    heard: list[int] = []

    def end(number: int, frame: object) -> NoReturn:
        heard.append(number)
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        serving()
    finally:
        signal.signal(signal.SIGTERM, before)
    return bool(heard)
