"""Traces: what each lane did, in bounded memory, into a file that was looked at before."""

import json
import os

import pytest

from netspec.errors import NetspecError
from netspec.runners.execution import trace as module
from netspec.runners.execution.trace import MOST_SPANS, Trace


def spans(path):
    return [event for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == "X"]


def test_a_trace_takes_so_many_spans_and_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_SPANS", 10)
    trace = Trace()
    for number in range(10):
        trace.span("host", "data", f"batch {number}", trace.now())
    assert trace.news() == []
    for number in range(10, 1000):
        trace.span("host", "data", f"batch {number}", trace.now())
    (said,) = trace.news()
    assert said.startswith("the trace takes no more: it has 10 spans, the run's first ")
    assert trace.news() == [] and len(trace._spans) == 10
    trace.write(tmp_path / "t.json")
    assert [span["name"] for span in spans(tmp_path / "t.json")] == [f"batch {number}" for number in range(10)]


def test_help_states_the_limit():
    from netspec.cli.run import _TRACE

    assert f"{MOST_SPANS:,} spans" in _TRACE


def test_lanes_have_numbers_and_names(tmp_path):
    trace = Trace()
    for process, lane in (("left", "compute"), ("right", "copy"), ("left", "copy"), ("left", "compute")):
        trace.span(process, lane, "x", trace.now(), {"a": 1})
    trace.write(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert [(event["pid"], event["tid"]) for event in events if event["ph"] == "X"] == [(1, 1), (2, 2), (1, 3), (1, 1)]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert names == {1: "compute", 2: "copy", 3: "copy"}


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to(os.devnull), lambda path: path.mkdir()])
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path, put):
    path = tmp_path / "t.json"
    put(path)
    with pytest.raises(NetspecError, match=r"t\.json: the trace cannot be written: "):
        Trace.prepare(path)


def test_a_trace_through_a_link_and_over_an_old_one(tmp_path):
    (tmp_path / "real").write_text("x" * 10_000)
    (tmp_path / "t.json").symlink_to("real")
    Trace.prepare(tmp_path / "t.json")
    Trace().write(tmp_path / "t.json")
    assert spans(tmp_path / "real") == []
