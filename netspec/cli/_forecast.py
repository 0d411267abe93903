"""What ``netspec info --processes`` adds: what a run of so many processes will take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from netspec.units import count, many, milliseconds, percent, rate, size

if TYPE_CHECKING:
    from netspec.report.tables import Table
    from netspec.runners.process_forecast import Forecast, Share
    from netspec.spec.types import Spec

_MODELLED = "a model: no run of several processes has been timed on GPUs (docs/scale.md)"


def forecasts(
    spec: Spec, processes: int, networks: Sequence[str], devices: str | None, gpu: str | None, seconds: float
) -> tuple[Share, list[Forecast]]:
    """The share of each process, measured or by a model, and what they take on each network. Raises NetspecError."""
    from netspec._types import Binding
    from netspec.report.progress import progress
    from netspec.runners.interconnect import NETWORKS, interconnect
    from netspec.runners.process_forecast import forecast, share_of
    from netspec.runners.training.request import Request

    found = [interconnect(name) for name in networks or NETWORKS]
    request = Request(spec, None, (), Binding(devices))
    with progress(stderr=True) as listener:
        share = share_of(request, processes, gpu, seconds, listener)
    return share, [forecast(share, processes, network) for network in found]


def _at_most(one: Forecast) -> str:
    """The ranks of a group have devices of their own, and so do not take the same."""
    return "" if one.each == 1 else " at most"


def tables(share: Share, found: Sequence[Forecast], is_modelled: bool) -> Iterator[Table | str]:
    """For the terminal."""
    from netspec.report.tables import table

    one, processes = found[0], found[0].processes
    of = "each" if one.each == 1 else f"for each group of {one.each}"
    yield f"{many(processes, 'process')}: batch {one.batch:,}, {many(one.images, 'image')} {of}"
    memory = f"{size(one.memory)} of memory" + (f" and {size(one.buffers)} for the exchange" if one.buffers else "")
    received = "as much" if one.received == one.sent else size(one.received)
    yield (
        f"each takes{_at_most(one)} {memory}, sends {size(one.sent)} an iteration in {many(one.messages, 'message')} "
        f"and receives {received}"
    )
    by = "each computes" if one.each == 1 else "one process for all of a group's work computes"
    yield f"{by} on {share.where}: {milliseconds(1e3 * share.seconds)} an iteration"
    if is_modelled:
        yield _MODELLED
    times = ("compute", "exchange", "of it latency", "iteration")
    columns = ["network", "nodes", *times, "images/s", "efficiency", "binds"]
    rows = [
        (
            each.network,
            count(each.nodes),
            milliseconds(1e3 * each.compute),
            milliseconds(1e3 * each.exchange),
            milliseconds(1e3 * each.latency),
            milliseconds(1e3 * each.iteration),
            rate(each.rate),
            percent(each.efficiency),
            each.binds,
        )
        for each in found
    ]
    drop = ("nodes", "of it latency", "iteration", "compute")
    yield table(columns, rows, right=columns[1:-1], drop=drop, title=f"{count(processes)} processes, by network")
