"""The memory map is the program's own layout: nothing that is alive at once overlaps, and reuse is what it says."""

from __future__ import annotations

from itertools import combinations

import pytest
from cli_tools import MINI, netspec

from netspec.figures import picture
from netspec.planning import build
from netspec.program import memory
from netspec.report.lowered import lowered
from netspec.spec import load


@pytest.fixture(scope="module", params=["quickstart", "alexnet-one-device"])
def spec(request):
    return load(request.param)


@pytest.mark.parametrize("phase", ["train", "predict"])
def test_buffers_are_those_of_the_program(spec, phase):
    data = picture("memory", [spec_path(spec)], phase=phase, batch=8).data
    program = lowered(build(spec, phase, 8), spec, "cpu")
    for one in data.devices:
        row = memory([program])[one.device]
        assert one.arena == row["arena"] == program.arenas[one.device]
        shared = [key for key in program.offsets if key.device == one.device]
        assert one.needed == sum(program.buffers[key].nbytes for key in shared)
        assert one.at_once <= one.arena <= one.needed
        assert {held.name for held in one.held} == set(map(str, shared))
        assert all(0 <= held.first <= held.last < len(one.steps) for held in one.held)


def spec_path(spec):
    return {"quickstart": "quickstart", "alexnet": "alexnet-one-device"}.get(spec.name, spec.name)


def test_only_what_is_written_in_place_shares_bytes_at_one_time(spec):
    program = lowered(build(spec, "train", 8), spec, "cpu")
    pairs = {frozenset((str(a), str(b))) for a, b in program.inplace.items()}
    for one in picture("memory", [spec_path(spec)], batch=8).data.devices:
        for a, b in combinations(one.held, 2):
            at_once = a.first <= b.last and b.first <= a.last
            same_place = a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
            if at_once and same_place and a.nbytes and b.nbytes:
                assert frozenset((a.name, b.name)) in pairs, (a, b)


def test_reuse_by_hand(tmp_path):
    """Of MINI in prediction, fc1 on each device is read once and gone when fc2 has been computed."""
    path = tmp_path / "mini.yaml"
    path.write_text(MINI)
    made = picture("memory", [path], phase="predict", batch=8)
    left = made.data.devices[0]
    layers = {held.layer: (held.first, held.last) for held in left.held if held.role == "activation"}
    assert layers["image"][0] < layers["image"][1] <= layers["relu1"][0] if "relu1" in layers else layers["fc1"][0]
    text = made.render().decode()
    assert text.count('id="buffer.') == sum(len(one.held) for one in made.data.devices)
    assert f"left: {len(left.held)} buffers of" in text


def test_a_shipped_spec_is_drawn_where_runs_of_it_lie(tmp_path, monkeypatch):
    """Of kinds that take specs its name is not a mistyped folder of runs."""
    run = tmp_path / "runs" / "quickstart" / "2026-01-31_12-00-00"
    run.mkdir(parents=True)
    (run / "spec.resolved.yaml").touch()
    monkeypatch.chdir(tmp_path)
    code, out, err = netspec("figure", "memory", "quickstart", "-o", "memory.svg", "--batch", "8")
    assert code == 0, err  # which is not empty where it took so long that its progress was shown
    assert out.endswith("wrote memory.svg\n")
    assert netspec("figure", "curves", "quickstart", "-o", "curves.svg")[0] == 2
