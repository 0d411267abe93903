"""SIGKILL at random moments: whatever was killed goes on to the same parameters, momentum and state, bit by bit.

NETSPEC_KILLS sets the number of kills for the quickstart net (4 by default; 200 take some ten minutes),
NETSPEC_KILLS_SEED the moments.
"""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import PLUGINS, TESTS
from training_runs import SPEC

KILLS = int(os.environ.get("NETSPEC_KILLS", "4"))
SEED = int(os.environ.get("NETSPEC_KILLS_SEED", random.randrange(2**32)))
SCRIPT = TESTS / "support" / "training_kills.py"
SHORTER = ["data.source.images=320", "data.source.val_images=128"]
"""Quickstart's network and solver, with fewer images an epoch, so that a run takes seconds."""


def kill(folder: Path, kills: int, *what: object) -> str:
    """What the script prints about so many kills."""
    command = [sys.executable, SCRIPT, folder, kills, SEED, *what]
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # none may run when the script forks
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env={**os.environ, **threads})
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout}{done.stderr}"
    assert done.stdout.startswith(f"{kills} kills"), f"seed {SEED}\n{done.stdout}{done.stderr}"
    print(done.stdout)
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_quickstart_killed_at_random_moments_is_as_never_killed(tmp_path):
    told = kill(tmp_path, KILLS, "quickstart", *SHORTER)
    for name in ("conv1.weight", "fc4.bias.momentum", "image.mean"):
        assert name in told
    if KILLS >= 100:
        for what in ("starting", "training", "evaluating", "writing a checkpoint"):
            assert re.search(rf"[1-9]\d* {what}", told)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_net_with_state_averages_and_a_schedule_by_hand_too(tmp_path):
    spec = tmp_path / "tiny.yaml"
    text = SPEC.replace("images: 44", "images: 200").replace("epochs: 3", "epochs: 4")
    spec.write_text(text.replace("name: relu1, type: relu", "name: centred1, type: centred, keep: 0.5"))
    hand = "train.schedule={type: hand, steps: [{epoch: 1, layers: {fc: 0.5}}, {epoch: 2, freeze: [conv1]}]}"
    sets = [hand, "train.ema={}", "data.augment.mixup=on", "train.solver=adamw", "train.clip_norm=1.0"]
    told = kill(tmp_path, 2 if KILLS == 4 else KILLS // 4, spec, *sets, "--plugin", PLUGINS / "centred.py")
    assert all(name in told for name in ("centred1.mean", "fc.weight.average", "fc.weight.v", "conv1.bias.scales"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_net_that_predicts_numbers_too(tmp_path):
    spec = tmp_path / "numbers.yaml"
    text = SPEC.replace("label: {dtype: int32}", "place: {shape: [2]}").replace("units: 3", "units: 2")
    text = text.replace("softmax_loss, inputs: [fc, label]", "mse, inputs: [fc, place]")
    text = text.replace("{type: generated, classes: 3, images: 44", "{type: placed, images: 200")
    spec.write_text(text.replace("epochs: 3", "epochs: 4"))
    told = kill(tmp_path, 2 if KILLS == 4 else KILLS // 4, spec)
    assert "fc.weight.momentum" in told
