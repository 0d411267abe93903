"""Whole runs whose batch is cut into replicas: resumed, killed, changed, traced, refused."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from cli_tools import netspec
from training_runs import SPEC, final, same, spec, stopping_after, told, train

from netspec.errors import NetspecError
from netspec.events import EvaluationDone, IterationDone, Note
from netspec.figures.timeline import bars_of, chosen
from netspec.runners.training import checkpoint

__all__ = ["spec"]
SETS = ["replicas=4", "train.ema={decay: 0.9}", "train.clip_norm=1.0", "data.augment={mixup: {alpha: 0.4}}"]


@pytest.fixture
def cut(spec):
    """The tiny network with batch_norm, batches of 8 in 4 replicas of 2."""
    text = SPEC.replace("  - {name: relu1,", "  - {name: bn1, type: batch_norm}\n  - {name: relu1,")
    spec.write_text(text.replace("devices: [left, right]\n", "devices: [left, right]\nreplicas: 4\n"))
    return spec


@pytest.mark.parametrize("stop", [3, 5, 11])
def test_resumed_is_as_never_stopped(cut, stop):
    out = cut.parent / "others"
    whole, events = train(cut, overrides=SETS)
    first, _ = train(cut, listener=stopping_after(stop), out=out, overrides=SETS)
    assert first.exit_code and not same(checkpoint.read(first.checkpoint).tensors, final(whole))
    second, _ = train(cut, resume="latest", out=out, runner="serial")
    assert same(final(second), final(whole))
    assert second.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert [round(one.errors["top1"] * 13, 6) % 1 for one in told(events, EvaluationDone)] == [0.0] * 3


def test_killed_is_as_never_killed(cut):
    """SIGKILL in the middle of an iteration, then --resume."""
    whole, _ = train(cut)
    out = cut.parent / "killed"
    code = (
        "import os, signal, sys; from netspec.api import run; from netspec.events import IterationDone\n"
        "def listen(event):\n"
        "    if isinstance(event, IterationDone) and event.iteration == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run(sys.argv[1], out=sys.argv[2], devices='cpu:0,cpu:1', listener=listen, checkpoint_every=0.0)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(cut), str(out)], check=False, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    second, _ = train(cut, resume="latest", out=out)
    assert same(final(second), final(whole))


def test_it_learns_what_one_replica_does(spec):
    one, events = train(spec, iterations=6)
    four, cut = train(spec, iterations=6, out=spec.parent / "four", overrides=["replicas=4"])
    for name, wanted in final(one).items():
        scale = max(np.abs(wanted).max(), 1e-3)
        np.testing.assert_allclose(final(four)[name], wanted, rtol=0, atol=1e-5 * scale, err_msg=name)
    losses = [[each.loss for each in told(found, IterationDone)] for found in (events, cut)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    validated = [[each.errors for each in told(found, EvaluationDone)] for found in (events, cut)]
    assert validated[0] == validated[1]


def test_another_number_of_replicas_may_go_on(cut):
    """It is the same training to rounding, so that a run can go on where there is less memory."""
    first, _ = train(cut, listener=stopping_after(3))
    second, events = train(cut, resume="latest", overrides=["replicas=2"])
    assert second.status == "finished" and checkpoint.read(second.checkpoint).record.spec["replicas"] == 2
    assert "changed: replicas: 4 -> 2" in [each.text for each in told(events, Note)]
    assert first.folder == second.folder


def test_validate_refuses_what_run_refuses(cut):
    for replicas, message in (("3", "must be a power of two, got 3"), ("16", "cannot be cut into 16 replicas")):
        found = netspec("validate", cut, "--set", f"replicas={replicas}")
        assert found.code == 1 and message in found.err + found.out
        with pytest.raises(NetspecError, match=message):
            train(cut, overrides=[f"replicas={replicas}"])


def test_statistics_of_the_whole_batch_are_refused_and_those_of_replicas_told(cut):
    message = "bn1: mean and variance over the whole batch cannot be had with replicas"
    found = netspec("validate", cut, "--set", "layers.bn1.statistics=batch")
    assert found.code == 1 and message in found.err and "--set:1:18" in found.err
    for command in ("info", "plan"):
        assert message in netspec(command, cut, "--set", "layers.bn1.statistics=batch").err
    with pytest.raises(NetspecError, match=message):
        train(cut, overrides=["layers.bn1.statistics=batch"])
    told_so = "bn1: mean and variance are those of each replica's 2 images, not of all 8"
    assert told_so in netspec("validate", cut).out
    _, events = train(cut, iterations=1)
    assert told_so in [each.text for each in told(events, Note)]
    whole, events = train(cut, iterations=1, overrides=["replicas=1", "layers.bn1.statistics=batch"])
    same_bits, _ = train(cut, iterations=1, overrides=["replicas=1"])
    assert same(final(whole), final(same_bits)) and not any("bn1" in each.text for each in told(events, Note))


def test_a_trace_has_all_replicas_and_a_timeline_all_of_an_iteration(cut, tmp_path):
    train(cut, iterations=3, trace=tmp_path / "trace.json")
    bars = bars_of(json.loads((tmp_path / "trace.json").read_text())["traceEvents"])
    shown = chosen(bars, "title", 2, "trace.json").bars
    counts = [sum(bar.name == name for bar in shown) for name in ("conv1.forward@left", "conv1.weight@left.update")]
    assert counts == [4, 1]


def test_info_tells_of_replicas_and_needs_less_memory(cut):
    found = [json.loads(netspec("info", cut, "--json", "--set", f"replicas={count}").out) for count in (1, 4)]
    assert [(each["batch"], each["replicas"]) for each in found] == [(8, 1), (8, 4)]
    assert found[1]["forward_flops"] * 4 == found[0]["forward_flops"]
    assert found[1]["memory"]["left"]["activation"] * 4 == found[0]["memory"]["left"]["activation"]
    assert "batch 8 in 4 replicas of 2" in netspec("info", cut).out
