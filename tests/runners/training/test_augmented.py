"""Runs with augmentations: colours altered on the device, resumed to the same bits, plugins recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_runs import SPEC, final, same, spec, stopping_after, told, train

from netspec.api import evaluate
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, IterationDone, Note
from netspec.registry import plugin_code
from netspec.runners.execution.session import Rates, Session
from netspec.runners.training import checkpoint
from netspec.spec import loads

__all__ = ["spec"]

COLOUR = "data.augment={colour: {sigma: 0.5, magnitude: deviation, rescale: true}, translate: {pixels: 1}}"
MIXED = "data.augment={mixup: {alpha: 1.0}, colour: on}"
RATES = Rates(0.05, (0.9, 0.0005))


def test_a_run_with_colour_noise_goes_on_bit_by_bit(spec: Path) -> None:
    whole, _ = train(spec, overrides=[COLOUR])
    stopped, _ = train(spec, overrides=[COLOUR], out=spec.parent / "stopped", listener=stopping_after(7))
    resumed, _ = train(None, resume=str(stopped.folder), workers=2)
    assert same(final(whole), final(resumed))
    plain, _ = train(spec, out=spec.parent / "plain")
    assert final(whole).keys() - final(plain).keys() == {"image.components"}
    assert not np.array_equal(final(whole)["conv1.weight"], final(plain)["conv1.weight"])
    evaluate(whole.folder)


def test_another_binding_and_the_serial_runner_give_the_same_bits(spec: Path) -> None:
    found = [
        final(train(spec, overrides=[COLOUR], out=spec.parent / str(number), **options)[0])
        for number, options in enumerate([{}, {"devices": "cpu:0,cpu:0"}, {"runner": "serial"}])
    ]
    assert all(same(found[0], other) for other in found[1:])


def test_a_resumed_run_keeps_its_augmentations_in_their_order(spec: Path) -> None:
    order = "data.augment={translate: {pixels: 1}, cutout: {size: 3}, colour: on}"
    result, _ = train(spec, overrides=[order, "train.epochs=1"])
    record = checkpoint.read_record(result.checkpoint)
    assert list(record.spec["data"]["augment"]) == ["translate", "cutout", "colour"]
    with pytest.raises(NetspecError, match=r"data.augment.cutout.grey: 128 -> 0"):
        train(None, resume=str(result.folder), overrides=["data.augment.cutout.grey=0"])


def test_a_schedule_by_hand_turns_colour_noise_off(spec: Path) -> None:
    """From an epoch on: until then the run is the one that leaves it as it is."""
    losses = []
    for left in (1.0, 0.0):
        steps = f"train.schedule={{type: hand, steps: [{{epoch: 1, colour_noise: {left}}}]}}"
        _, events = train(spec, overrides=[COLOUR, steps], out=spec.parent / str(left))
        losses.append([event.loss for event in told(events, IterationDone)])
    assert losses[0][:5] == losses[1][:5] and losses[0][5] != losses[1][5]


def test_a_batch_without_a_tint_is_trained_on_as_it_is() -> None:
    """As by whoever hands batches to a session himself."""
    rng = np.random.default_rng(0)
    arrays = {"image": rng.integers(0, 256, (8, 8, 8, 3), np.uint8), "label": rng.integers(0, 3, 8).astype(np.int32)}
    tint = {"image.tint": np.full((8, 4), 0.5, np.float32)}
    found = []
    for sets, batches in (([], [{}]), ([COLOUR], [{}]), ([COLOUR], [tint, {}]), ([COLOUR], [tint])):
        with Session(loads(SPEC, "tiny.yaml", sets), ["cpu:0", "cpu:0"]) as session:
            if "image.components" in session.store.shapes():
                session.store.load({"image.components": np.eye(3, dtype=np.float32) * 40}, strict=False)
            before = session.store.tensors()
            for more in batches:
                session.store.load(before)
                losses = session.train({**arrays, **more}, 0, 8, RATES).reports["loss"]["loss"]
            found.append(losses)
    assert found[0] == found[1] == found[2] != found[3]


def test_a_run_with_mixed_images_goes_on_bit_by_bit(spec: Path) -> None:
    overrides = [MIXED, "layers.loss.smoothing=0.1"]
    whole, events = train(spec, overrides=overrides)
    stopped, _ = train(spec, overrides=overrides, out=spec.parent / "stopped", listener=stopping_after(7))
    resumed, _ = train(None, resume=str(stopped.folder), workers=2)
    assert same(final(whole), final(resumed))
    serial, _ = train(spec, overrides=overrides, out=spec.parent / "serial", runner="serial", devices="cpu:0,cpu:0")
    assert same(final(whole), final(serial))
    plain, before = train(spec, overrides=overrides[1:], out=spec.parent / "plain")
    assert final(whole).keys() - final(plain).keys() == {"image.components"}
    losses, unmixed = ([one.loss for one in told(each, IterationDone)] for each in (events, before))
    assert len(losses) == len(unmixed) and not set(losses) & set(unmixed)
    evaluate(whole.folder)


def test_evaluation_sees_images_and_labels_unmixed(spec: Path) -> None:
    """A network that does not learn is as good in evaluation with mixed images as without."""
    still = "train.sgd.learning_rate=0"
    found = [
        told(train(spec, overrides=[still, *more], out=spec.parent / str(len(more)))[1], EvaluationDone)
        for more in ([], ["data.augment={mixup: {alpha: 1.0}}"])
    ]
    assert [(one.loss, one.errors) for one in found[0]] == [(one.loss, one.errors) for one in found[1]] != []


def test_a_batch_without_mixed_labels_is_trained_on_as_it_is() -> None:
    """As by whoever hands batches to a session himself; and a share of the other label counts as much."""
    rng = np.random.default_rng(0)
    arrays = {"image": rng.integers(0, 256, (8, 8, 8, 3), np.uint8), "label": rng.integers(0, 3, 8).astype(np.int32)}
    other = (arrays["label"] + 1) % 3
    given = [{}, {"label.other": other, "label.share": np.zeros(8, np.float32)}]
    half = {"label.other": other, "label.share": np.full(8, 0.5, np.float32)}
    losses = []
    for sets, label, more in (
        ([], arrays["label"], {}),
        *(([MIXED], arrays["label"], one) for one in given),
        ([MIXED], arrays["label"], half),
        ([], other, {}),
    ):
        with Session(loads(SPEC, "tiny.yaml", sets), ["cpu:0", "cpu:0"]) as session:
            batch = {**arrays, "label": label, **more}
            losses.append(session.train(batch, 0, 8, RATES).reports["loss"]["loss"])
    assert losses[0] == losses[1] == losses[2]
    assert losses[3] == pytest.approx((losses[0] + losses[4]) / 2, rel=1e-5)


PLUGIN = '''
from netspec.plugin import Augmentation, register

@register("upside_down")
class UpsideDown(Augmentation):
    """Some images upside down."""
    words = 1
    def pixels(self, words, pixels):
        if words[0] >> 63:
            pixels[...] = pixels[::-1].copy()
'''


def test_a_plugin_with_an_augmentation_is_recorded_and_loaded_again(spec: Path) -> None:
    file = spec.parent / "upside_down.py"
    file.write_text(PLUGIN)
    spec.write_text(SPEC.replace("mirror: true", "augment: {upside_down: on}"))
    whole, _ = train(spec, plugins=[file], out=spec.parent / "whole")
    stopped, _ = train(spec, plugins=[file], listener=stopping_after(7), workers=1)
    (recorded,) = checkpoint.read_record(stopped.checkpoint).plugins
    assert recorded.types == ("augmentations.upside_down",)
    (copy,) = (stopped.folder / "plugins").glob("*/upside_down.py")
    assert copy.read_text() == PLUGIN
    _forget()
    heard: list[object] = []
    evaluate(stopped.folder, listener=heard.append)
    assert f"plugin {file}, as the run was made with" in [note.text for note in told(heard, Note)]
    _forget()
    resumed, _ = train(None, resume=str(stopped.folder))
    assert same(final(whole), final(resumed))
    _forget()
    file.write_text(PLUGIN + "\n")
    again, events = train(None, resume=str(stopped.checkpoint), out=spec.parent / "again")
    assert same(final(whole), final(again))
    assert [note.text for note in told(events, Note) if f"plugin {copy}, the run's own copy, since {file}" in note.text]


def _forget() -> None:
    """A new process would know no plugin."""
    for module in list(plugin_code._loaded):
        plugin_code._discard(module)
