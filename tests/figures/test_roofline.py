"""The least time of a step: its operations or its bytes, at rates that are measured."""

from __future__ import annotations

from types import SimpleNamespace

from netspec.figures import _roofline, picture
from netspec.figures.timeline import Bar, Timeline
from netspec.machine import roofline
from netspec.machine.roofline import Roof
from netspec.runners.execution.session import Session
from netspec.spec import load


def test_the_slower_of_arithmetic_and_memory_decides():
    roof = Roof(flops=1e9, bandwidth=1e8)
    assert roof.seconds(2 * 10**9, 10**8) == 2 and roof.seconds(10**6, 3 * 10**8) == 3
    assert str(Roof(123.4e9, 45.67e9)) == "123 GFLOP/s, 45.7 GB/s"


def test_a_rate_counts_what_all_threads_do(monkeypatch):
    monkeypatch.setattr(roofline, "_best", lambda pool, job, threads: 0.5)
    one, three = roofline.measured(1), roofline.measured(3)
    assert one == Roof(2 * 2 * 1024**3, 2 * 2 * 2**25) and three == Roof(3 * one.flops, 3 * one.bandwidth)


def test_bounds_of_a_network_by_hand(monkeypatch):
    monkeypatch.setattr(_roofline, "measured", lambda threads: Roof(1e12, 1.0))  # bytes decide: seconds are bytes
    sets = ("train.fuse=false", "train.batch=4")
    with Session(load("quickstart", sets), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        bounds, line = _roofline.step_bounds(session)
    image, values = 4 * 32 * 32 * 16 * 4, 4 * 64 * 4
    assert bounds["relu1.forward@left"] in (image, 2 * image)  # in place, or to another buffer
    assert bounds["fc3.forward@right"] > 4 * values
    assert line.endswith("left 1.00 TFLOP/s, 1 B/s; right 1.00 TFLOP/s, 1 B/s.")


def test_gpus_have_none_and_the_line_says_why():
    session = SimpleNamespace(devices={"left": SimpleNamespace(kind="cpu"), "right": SimpleNamespace(kind="cuda")})
    bounds, line = _roofline.step_bounds(session)
    assert bounds == {} and "No share of the roofline: times on GPUs" in line


def test_the_share_of_a_layer_is_its_least_time_over_its_time():
    lane = "left", "compute"
    bars = [
        Bar(lane, "forward", "a.forward@left", "a", 0.0, 3.0, 10**6, 1.0),
        Bar(lane, "backward", "a.backward@left", "a", 3.0, 5.0, 10**6, 1.0),
        Bar(lane, "forward", "b.forward@left", "b", 8.0, 1.0, 0),
    ]
    rows = Timeline.by_layer(SimpleNamespace(bars=bars))
    assert rows == [("a", "left", "3.00", "5.00", "0.2", "25 %"), ("b", "left", "1.00", "", "", "")]


def test_a_timeline_that_is_measured_has_them():
    made = picture("timeline", ["quickstart"], devices="cpu:0,cpu:1", batch=4)
    assert all(bar.bound > 0 for bar in made.data.bars if bar.kind == "forward")
    assert made.data.roof.startswith("Of the roofline: ") and "GB/s" in made.data.roof
    assert all(row[5].endswith(" %") for row in made.kind.by_layer(made.data))
