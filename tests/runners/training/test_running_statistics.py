"""The running mean and variance of batch_norm in whole runs over two devices: resumed, frozen, averaged."""

import numpy as np
import pytest
from training_runs import SPEC, final, same, spec, stopping_after, train

from netspec.runners.training import checkpoint

__all__ = ["spec"]

STATISTICS = ("bn1.mean", "bn1.variance")


@pytest.fixture
def normalised(spec):
    """The tiny network with batch_norm behind its convolution, half of the channels on each device."""
    spec.write_text(SPEC.replace("  - {name: relu1,", "  - {name: bn1, type: batch_norm}\n  - {name: relu1,"))
    return spec


@pytest.mark.parametrize("stop", [3, 5, 11])
def test_resumed_is_as_never_stopped(normalised, stop):
    sets, out = ["train.ema={decay: 0.9}"], normalised.parent / "others"
    whole, _ = train(normalised, overrides=sets)
    first, _ = train(normalised, listener=stopping_after(stop), out=out, overrides=sets)
    stopped, finished = checkpoint.read(first.checkpoint).tensors, final(whole)
    for name, start in zip(STATISTICS, (0, 1), strict=True):
        assert stopped[name].shape == (8,) and (stopped[name] != start).all()  # both devices' halves have moved,
        assert (stopped[name] != finished[name]).all()  # and move on after the resumption
    second, _ = train(normalised, resume="latest", out=out, runner="serial")
    assert same(final(second), finished)
    assert second.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


def test_without_its_statistics_a_resumed_run_ends_elsewhere(normalised):
    """They are read from the checkpoint: numbers changed there are gone on from."""
    first, _ = train(normalised, listener=stopping_after(14))
    found = checkpoint.read(first.checkpoint)
    before = found.tensors["bn1.mean"].copy()
    found.tensors["bn1.mean"] = before + np.float32(1)
    checkpoint.write(first.checkpoint, found)
    second, _ = train(normalised, resume="latest")
    whole, _ = train(normalised, out=normalised.parent / "others")
    apart = final(second)["bn1.mean"] - final(whole)["bn1.mean"]
    np.testing.assert_allclose(apart, 0.9, rtol=1e-5)  # 1 - momentum of the layer, after one iteration


def test_frozen_parameters_stay_and_the_statistics_follow_the_batches(normalised):
    """As in PyTorch, where requires_grad = False does not keep a module from training mode."""
    frozen, _ = train(normalised, iterations=1, overrides=["train.freeze=[bn1]"])
    other, _ = train(normalised, iterations=1)
    found, trained = final(frozen), final(other)
    assert (found["bn1.weight"] == 1).all() and not found["bn1.bias"].any()
    assert not any(name.startswith("bn1") and name.endswith("momentum") for name in found)
    assert not np.array_equal(found["bn1.weight"], trained["bn1.weight"])
    for name in (*STATISTICS, "conv1.weight", "fc.weight"):  # the gradient passes through it as if it were trained
        assert np.array_equal(found[name], trained[name]), name
