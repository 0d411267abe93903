"""Runs whose images stay on the devices: the same bits as with workers, resumed and evaluated; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import cards, needs_compiler
from data_samples import jpeg, write_folder
from training_runs import SPEC, final, same, spec, stopping_after, told, train

from netspec.api import evaluate
from netspec.cli._main import main
from netspec.data.dataset import open_dataset
from netspec.data.pipeline import Pipeline
from netspec.data.resident import ResidentPipeline, hold
from netspec.device.binding import Placed
from netspec.errors import SpecError
from netspec.events import EvaluationDone, IterationDone, Note
from netspec.planning.rates import Rates
from netspec.planning.trainable import inputs_read
from netspec.rundir.directory import BROKEN
from netspec.runners.execution import memory_check
from netspec.runners.execution.session import Session
from netspec.runners.training import hold_data
from netspec.spec import loads

__all__ = ["spec"]

RESIDENT = "data.resident=true"
EVERY = "data.augment={colour: {sigma: 0.5, magnitude: deviation}, translate: {pixels: 2}}"


def notes(events) -> str:
    return "\n".join(event.text for event in told(events, Note))


@pytest.mark.parametrize("sets", [[], ["data.resize=10"], [EVERY], ["replicas=2"]])
@pytest.mark.parametrize("devices", ["cpu:0,cpu:1", "cpu:0,cpu:0"])
def test_the_bits_are_those_of_workers(spec, sets, devices):
    """Crops, mirrors, moved images and altered colours; two devices with an array each or one."""
    wanted, before = train(spec, overrides=[*sets, "train.epochs=2"], devices=devices)
    got, after = train(spec, overrides=[*sets, "train.epochs=2", RESIDENT], devices=devices, out=spec.parent / "got")
    assert same(final(got), final(wanted))
    for kind in (IterationDone, EvaluationDone):
        assert [one.errors for one in told(after, kind)] == [one.errors for one in told(before, kind)]
    assert "data: 57 images" in notes(after) and "stay on cpu:0" in notes(after) and "stay on" not in notes(before)


def test_a_run_goes_on_bit_by_bit_with_images_on_devices_or_not(spec):
    whole, _ = train(spec, overrides=["data.resize=10"])
    stopped, _ = train(spec, overrides=["data.resize=10", RESIDENT], out=spec.parent / "s", listener=stopping_after(7))
    once, _ = train(None, resume=str(stopped.folder), listener=stopping_after(12))
    resumed, events = train(None, resume=str(once.folder), overrides=["data.resident=false"])
    assert same(final(whole), final(resumed)) and "data.resident: true -> false" in notes(events)
    evaluate(resumed.folder)
    predicted, _ = train(None, resume=str(stopped.folder), epochs=4)
    assert predicted.status == "finished"


def test_broken_images_are_left_out_and_listed(tmp_path, spec):
    files = {f"{part}/{name}/{i}.jpg": jpeg(10 * c + i, 8, 8) for part in ("train", "val")
             for c, name in enumerate(("ant", "bee", "cat")) for i in range(8)}  # fmt: skip
    data = write_folder(tmp_path / "data", files | {"train/ant/2.jpg": b"", "val/cat/0.jpg": jpeg(1, 8, 8)[:99]})
    found = [train(spec, data=data, overrides=sets, out=tmp_path / str(len(sets))) for sets in ([], [RESIDENT])]
    assert same(*(final(result) for result, _ in found))
    (first, _), (second, events) = found
    assert (first.folder / BROKEN).read_text() == (second.folder / BROKEN).read_text()
    assert told(events, EvaluationDone)[0].broken == 1


def test_what_workers_alone_can_do_is_refused_by_name(spec, capsys):
    spec.write_text(SPEC.replace("workers: 0", "workers: 0, resident: true, augment: {cutout: on}"))
    message = "tiny.yaml:16:140: 'cutout' is done by workers alone, and 'data.resident' is true"
    with pytest.raises(SpecError, match=message):
        train(spec)
    with pytest.raises(SystemExit, match="1"):
        main(["validate", str(spec)])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("augment", ["{random_resized_crop: on}", "{mixup: on}", "{translate: on, cutout: on}"])
def test_other_augmentations_of_workers(spec, augment):
    with pytest.raises(SpecError, match="is done by workers alone"):
        train(spec, overrides=[RESIDENT, f"data.augment={augment}"])


def test_images_that_are_resized_and_then_cut_are_refused_or_left_to_workers(tmp_path, spec, monkeypatch):
    files = {f"{part}/{name}/{i}.jpg": jpeg(10 * c + i, 14, 12) for part in ("train", "val")
             for c, name in enumerate(("ant", "bee", "cat")) for i in range(8)}  # fmt: skip
    data = write_folder(tmp_path / "data", files)
    with pytest.raises(SpecError, match=r"in '.*resident.*': .*has 14 x 12 pixels, .* before it is cut"):
        train(spec, data=data, overrides=["data.resize=10", RESIDENT])
    monkeypatch.setattr(hold_data, "_by_itself", lambda *_: True)
    _, events = train(spec, data=data, overrides=["data.resize=10", "train.epochs=1"])
    assert "workers make the batches: " in notes(events) and "has 14 x 12 pixels, to be resized to" in notes(events)


def test_only_cards_keep_images_by_themselves(spec, monkeypatch):
    """Where the images take at most a quarter of what is free, and are not resized before they are cut."""
    one = loads(SPEC, "tiny.yaml", [])
    source = open_dataset(one.data, 5)
    nbytes, free, lines = (44 + 13) * 8 * 8 * 3, [0], []
    monkeypatch.setattr(hold_data, "place", lambda devices, names: Placed(tuple(names), (0,) * len(names), ()))
    monkeypatch.setattr(hold_data, "free_memory", lambda index: free[0])

    def held(names, spec=one):
        return hold_data.held_images(spec, source, 0, lines.append, names) is not None

    free[0] = 8 * nbytes
    assert held(["cuda:0", "cuda:0"]) and held(["cuda:0", "cuda:1"]) and not held(["cpu:0", "cpu:1"])
    assert lines == ["data: 57 images, 10.7 KiB, stay on cuda:0", "data: 57 images, 10.7 KiB, stay on cuda:0, cuda:1"]
    free[0] -= 1
    assert held(["cuda:0", "cuda:1"]) and not held(["cuda:0", "cuda:0"])
    monkeypatch.setattr(hold_data, "host_memory", lambda: 4 * nbytes - 1)
    assert not held(["cuda:0", "cuda:1"])
    monkeypatch.setattr(hold_data, "host_memory", lambda: 4 * nbytes)
    few = ("train.epochs=1", "train.iterations=10")  # the images are decoded once, and shown hardly more often
    for text in ("data.resident=false", "data.augment={cutout: on}", *few):
        assert not held(["cuda:0", "cuda:1"], loads(SPEC, "tiny.yaml", [text]))


def test_images_that_leave_no_room_for_the_network_stay_with_workers(spec, monkeypatch):
    """By themselves; asked for, the run ends with what is missing."""
    monkeypatch.setattr(hold_data, "_by_itself", lambda *_: True)
    needs = []

    def short(programs, binding, processes):
        held = any(key.role == "resident" for program in programs for key in program.buffers)
        needs.append(held)
        if held:
            raise memory_check.NoRoomError("the plan takes too much")

    monkeypatch.setattr("netspec.runners.execution.session.check_memory", short)
    _, events = train(spec, overrides=["train.epochs=1"])
    assert needs == [True, False] and "workers make the batches: the network and its images" in notes(events)
    with pytest.raises(memory_check.NoRoomError):
        train(spec, overrides=[RESIDENT])


@needs_compiler
def test_an_emulated_card_reads_the_same_images():
    """Its gather kernel writes what workers hand over: so training gives the same bits, image by image."""
    text = ["data.resize=10", EVERY, "layers.drop1.keep=1.0"]
    one = loads(SPEC, "tiny.yaml", text)
    source, read = open_dataset(one.data, 5), inputs_read(one)
    rest = (one.data, "train", 8, read.shape, 5)
    held = hold([source.train], one.data, read.shape, 0, read.more)
    learned = []
    with Pipeline(source.train, *rest, 0) as pipeline:
        resident = ResidentPipeline(source.train, *rest, held, read.more)
        for batches, images in ((pipeline, {}), (resident, {"image": held.images})):
            opened = {"opener": cards, "resident": images}
            with Session(one, ["cpu:0", "cpu:0"], runner="serial", phases=["train"], **opened) as session:
                session.store.load({"image.components": np.eye(3, dtype=np.float32)}, strict=False)
                for number, batch in zip(range(2), batches.epoch(0), strict=False):
                    arrays = {"image": batch.image, "label": batch.label, "image.tint": batch.beside["tint"]}
                    session.train(arrays, number, 8, Rates(0.05, (0.9, 0.0005)))
                    batch.release()
                learned.append(session.store.tensors())
        resident.close()
    assert same(*learned) and not np.array_equal(learned[0]["conv1.weight"], 0)
