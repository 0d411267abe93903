"""The timeline of traces that are made up, and of one that a run has written."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from netspec.errors import NetspecError
from netspec.figures import picture
from netspec.figures.timeline import bars_of, chosen
from netspec.planning.identities import Op


def events(*steps, lanes=(("left", "compute"), ("left", "copy"), ("right", "compute"))):
    """Trace events of (lane number, kind, name, start ms, length ms)."""
    pids = {device: n for n, (device, _) in enumerate(lanes)}
    for tid, (device, queue) in enumerate(lanes):
        yield {"name": "process_name", "ph": "M", "pid": pids[device], "args": {"name": device}}
        yield {"name": "thread_name", "ph": "M", "pid": pids[device], "tid": tid, "args": {"name": queue}}
    for lane, kind, name, start, length in steps:
        place = {"pid": pids[lanes[lane][0]], "tid": lane, "ts": 1e3 * start, "dur": 1e3 * length}
        yield {"name": name, "cat": kind, "ph": "X", "args": {"layer": name.partition(".")[0]}, **place}


def iteration(start, scale=1.0, train=True):
    steps = [
        (0, "scalars", "scalars@left", 0, 1),
        (0, "forward", "conv1.forward@left", 2, 8),
        (2, "forward", "conv1.forward@right", 0, 4),
        (1, "transfer", "fc.x@left.fetch1", 4, 4),
        (1, "transfer", "fc.d@left.fetch1", 18, 4),
        (0, "backward", "fc.backward@left", 12, 8),
    ]
    steps += [(0, "update", "fc.weight@left.update", 24, 1)] if train else []
    return [(lane, kind, name, start + scale * at, scale * length) for lane, kind, name, at, length in steps]


def test_an_iteration_by_hand():
    found = chosen(bars_of(events(*iteration(100))), "net", 0, "trace")
    assert found.milliseconds == pytest.approx(25)
    assert found.busy == pytest.approx({"left compute": 18 / 25, "left copy": 8 / 25, "right compute": 4 / 25})
    assert found.hidden == pytest.approx((4 + 2) / 8)  # of 4 to 8 all lies beside conv1, of 18 to 22 half beside fc
    assert min(bar.start for bar in found.bars) == 0.0
    assert {bar.kind for bar in found.bars} == {"other", "forward", "backward", "transfer", "update"}


def test_the_median_iteration_is_shown_and_evaluations_are_not():
    steps = [*iteration(0, 40), *iteration(2000, 1), *iteration(2100, 1, train=False), *iteration(2200, 3)]
    bars = bars_of(events(*steps))
    assert chosen(bars, "net", 0, "trace").milliseconds == pytest.approx(75)
    assert [round(chosen(bars, "net", n, "trace").milliseconds) for n in (1, 2, 3)] == [1000, 25, 75]
    with pytest.raises(NetspecError, match=r"trace: no training iteration 4 in the trace; it has 3"):
        chosen(bars, "net", 4, "trace")


def test_steps_of_all_operations_are_shown():
    bars = bars_of(events(*((0, op, f"{op}@left", at, 1) for at, op in enumerate(get_args(Op)))))
    assert [bar.name for bar in bars] == [f"{op}@left" for op in get_args(Op)]


def test_transfers_may_be_missing():
    steps = [step for step in iteration(0) if step[1] != "transfer"]
    assert chosen(bars_of(events(*steps)), "net", 0, "trace").hidden is None


NO_TRACES = ["", "{}", "[1]", '{"traceEvents": 3}', '{"traceEvents": []}', '{"traceEvents": [{"ph": "M"}, 3]}']


@pytest.mark.parametrize("text", NO_TRACES)
def test_what_is_no_trace_is_said(text, tmp_path):
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(NetspecError, match=r"trace\.json: (not a trace|no training iteration)"):
        picture("timeline", [path])


def test_a_file_of_events_is_drawn(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": list(events(*iteration(5)))}))
    made = picture("timeline", [path])
    text = made.render().decode()
    assert text.count('id="bar.') == 7 and ">conv1</text>" in text and ">left copy</text>" in text
    assert "25.0 ms; 75 % of the time of transfers hidden" in text
