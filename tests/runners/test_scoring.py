"""Evaluation image by image: of one network, of ten views, and of several networks averaged."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, picture, write_folder
from training_runs import SPEC, told

from netspec import evaluate, predict
from netspec.api import run
from netspec.data.decode import show
from netspec.data.geometry import Geometry
from netspec.data.workers.fetch import VIEWS
from netspec.errors import NetspecError
from netspec.evaluation.evaluation_result import as_data
from netspec.evaluation.significance import mcnemar
from netspec.events import EvaluationDone, Note
from netspec.report import tables
from netspec.report.evaluation_tables import classes, confusion
from netspec.rundir.metrics import read_metrics
from netspec.runners.trained import find_checkpoint
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Checkpoint
from netspec.runners.training.saver import listed

CPU = {"devices": "cpu:0,cpu:1", "workers": 0}
WIDER = SPEC.replace("[8, 8, 3]", "[12, 10, 3]").replace("filters: 8", "filters: 6").replace("scale: 0.0", "scale: 0.")


def trained(folder: Path, text: str, seed: int) -> Path:
    """The checkpoint of a run of two epochs."""
    (folder / "tiny.yaml").write_text(text)
    done = run(folder / "tiny.yaml", out=folder / "runs", devices="cpu:0,cpu:1", epochs=2, seed=seed)
    return done.folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> list[Path]:
    """Two networks of one spec, and one with another input, mean image and number of filters."""
    folder = tmp_path_factory.mktemp("networks")
    return [trained(folder, SPEC, 1), trained(folder, SPEC, 2), trained(folder, WIDER, 3)]


@pytest.fixture(scope="module")
def images(tmp_path_factory, networks) -> Path:
    """Pictures of any size in folders of their classes, one of which cannot be read."""
    classes = record(networks[0]).classes
    content = {f"{classes[i % 3]}/{i}.png": encoded(picture(i, 20 + i, 31 - i), "PNG") for i in range(11)}
    return write_folder(tmp_path_factory.mktemp("images"), content | {f"{classes[1]}/broken.png": b""})


def record(network: Path):
    return checkpoint.read(listed(network / "checkpoints")[0]).record


@pytest.mark.parametrize("views", [1, 2, 10])
def test_each_image_has_its_label_rank_loss_and_likeliest_classes(networks, images, views):
    done = evaluate(networks[0], data=images, views=views, probabilities=True, top=2, **CPU)
    results = done.results
    assert (done.images, done.broken, len(results), done.views) == (11, 1, 11, views)
    assert all(name.endswith(".png") and "broken" not in name for name in results.names)
    assert [done.classes[label] for label in results.label] == [name.split("/")[-2] for name in results.names]
    assert results.probabilities.shape == (11, 3) and results.top.shape == (11, 2)
    assert np.allclose(results.probabilities.sum(axis=1), 1)
    assert done.errors["top1"] == done.rates["top1"].share == results.wrong(1).mean()
    own = results.probabilities[np.arange(11), results.label]
    assert done.loss == pytest.approx(-np.log(own).mean(), rel=1e-5)
    assert done.confusion.sum() == 11 and sum(one.top1.wrong for one in done.by_class) == done.rates["top1"].wrong


def test_one_view_is_what_predict_sees(networks, images):
    done = evaluate(networks[0], data=images, probabilities=True, **CPU)
    seen = predict(networks[0], [images.parent / name for name in _paths(done, images)], devices="cpu:0,cpu:1")
    for one, row, best in zip(seen, done.results.probabilities, done.results.top, strict=True):
        assert one.top[0][0] == done.classes[best[0]]
        assert dict(one.top) == pytest.approx(dict(zip(done.classes, row.tolist(), strict=True)), rel=1e-5)


def _paths(done, images):
    return [images / "/".join(name.split("/")[-2:]) for name in done.results.names]


@pytest.mark.parametrize(("views", "batch"), [(10, 4), (10, 16), (10, 25), (10, 200), (2, 5)])
def test_views_are_the_average_of_what_is_seen_in_each(networks, images, views, batch):
    """In float32 and in their order; whatever the batches, and wherever they cut an image's views apart."""
    resized = resizing(networks[2])
    done = evaluate(resized, data=images, views=views, probabilities=True, batch=batch, **CPU)
    crops = np.empty((views, 12, 10, 3), np.uint8)
    choices = VIEWS if views == 10 else [VIEWS[0], VIEWS[5]]  # the centre and its mirror image
    for path, row in zip(_paths(done, images), done.results.probabilities, strict=True):
        for choose, crop in zip(choices, crops, strict=True):
            show(path.read_bytes(), Geometry(12, 10, 3, 16), choose, crop)
        seen = [dict(one.top) for one in predict(networks[2], list(crops), devices="cpu:0,cpu:1", batch=batch)]
        rows = np.array([[one[name] for name in done.classes] for one in seen], np.float32)
        total = rows[0].copy()
        for other in rows[1:]:
            total += other
        assert np.allclose(row, total / views, rtol=1e-6, atol=0)


def resizing(network: Path) -> Path:
    """The run's best checkpoint, of a spec that resizes images to 16 pixels before they are cropped."""
    found = find_checkpoint(network)[0]
    spec = {**found.record.spec, "data": {**found.record.spec["data"], "resize": 16}}
    checkpoint.write(network / "resized.safetensors", Checkpoint(replace(found.record, spec=spec), found.tensors))
    return network / "resized.safetensors"


def test_averaged_networks_are_evaluated_alone_too(networks, images):
    alone = [evaluate(network, data=images, probabilities=True, views=10, **CPU) for network in networks]
    heard: list = []
    whole = evaluate(networks, data=images, probabilities=True, views=10, listener=heard.append, **CPU)
    total = sum((one.results.probabilities for one in alone[1:]), alone[0].results.probabilities)
    assert np.array_equal(whole.results.probabilities, total / np.float32(3))
    assert [one.errors for one in whole.networks] == [one.errors for one in alone]
    assert [one.run for one in whole.networks] == list(map(str, networks)) and whole.run == "average of 3"
    assert all(one.results.probabilities is None for one in whole.networks)
    assert whole.errors["top1"] == (whole.results.probabilities.argmax(axis=1) != whole.results.label).mean()
    assert (whole.images, whole.broken, whole.views, whole.split) == (11, 1, 10, "val")
    assert [event.iteration for event in told(heard, EvaluationDone)] == [one.iteration for one in alone]
    texts = [note.text for note in told(heard, Note)]
    assert len(texts) == len(set(texts))


def test_differences_are_counted_on_the_same_images(networks):
    whole = evaluate(networks, **CPU)
    wrong = [one.results.wrong(1) for one in whole.members]
    found = whole.differences("top1")
    assert [(one.first, one.second) for one in found[:2]] == [
        (str(networks[0]), str(networks[1])),
        (str(networks[0]), str(networks[2])),
    ]
    assert len(found) == 6 and found[-1].second == whole.run
    first = found[0]
    assert first.only_first_wrong == (wrong[0] & ~wrong[1]).sum()
    assert first.only_second_wrong == (wrong[1] & ~wrong[0]).sum()
    assert first.p == mcnemar(first.only_first_wrong, first.only_second_wrong) <= first.adjusted
    assert first.share == pytest.approx(whole.networks[0].errors["top1"] - whole.networks[1].errors["top1"])


def test_classes_are_matched_by_name_whatever_their_order(networks, images, tmp_path):
    """A network whose outputs stand in another order is the same network."""
    found = checkpoint.read(listed(networks[1] / "checkpoints")[0])
    order = [2, 0, 1]
    moved = {name: array[..., order] if name.startswith("fc.") else array for name, array in found.tensors.items()}
    names = tuple(found.record.classes[place] for place in order)
    checkpoint.write(tmp_path / "moved.safetensors", Checkpoint(replace(found.record, classes=names), moved))
    plain = shutil.copy(found.path, tmp_path / "plain.safetensors")
    whole = evaluate([plain, tmp_path / "moved.safetensors"], data=images, probabilities=True, **CPU)
    one, other = whole.networks
    assert one.errors == other.errors and one.loss == pytest.approx(other.loss, rel=1e-6)
    assert np.array_equal(one.results.top, other.results.top) and one.classes == other.classes
    alone = evaluate(plain, data=images, probabilities=True, **CPU)
    assert np.allclose(whole.results.probabilities, alone.results.probabilities)
    assert all(one.p == 1.0 for one in whole.differences())


def test_networks_of_other_classes_have_no_average(networks, tmp_path):
    found = checkpoint.read(listed(networks[1] / "checkpoints")[0])
    other = replace(found.record, classes=("ant", *found.record.classes[1:]))
    checkpoint.write(tmp_path / "other.safetensors", Checkpoint(other, found.tensors))
    with pytest.raises(NetspecError) as caught:
        evaluate([networks[0], tmp_path / "other.safetensors"], **CPU)
    own = found.record.classes[0]
    assert str(caught.value) == (
        f"networks of different classes have no average: only {networks[0]} knows '{own}', "
        f"only {tmp_path / 'other.safetensors'} knows 'ant'"
    )


def test_what_cannot_be_asked_for(networks):
    with pytest.raises(NetspecError, match="name a run or a checkpoint"):
        evaluate([])
    with pytest.raises(NetspecError, match="top must be 1 or more, got 0"):
        evaluate(networks[0], top=0)
    with pytest.raises(NetspecError, match="no checkpoint there"):
        evaluate([networks[0], networks[0] / "checkpoints"])


def test_data_for_json_has_every_figure(networks):
    whole = evaluate(networks[:2], **CPU)
    data = as_data(whole, confusion=True)
    assert data["rates"]["top1"] == whole.rates["top1"].as_data() and data["errors"] == whole.errors
    assert [one["run"] for one in data["networks"]] == list(map(str, networks[:2]))
    assert sum(map(sum, data["confusion"]["counts"])) == whole.images
    assert sum(one["top1"]["images"] for one in data["classes"]) == whole.images
    assert data["differences"].keys() == data["rates"].keys() == {"top1"}  # of so few classes top-5 is always 0
    assert "confusion" not in as_data(whole) and "networks" not in as_data(whole.networks[0])


def test_classes_are_told_with_what_people_call_them(networks, tmp_path, capsys):
    found = find_checkpoint(networks[0])[0]
    words = {found.record.classes[0]: "an arrow, shaft"}
    checkpoint.write(tmp_path / "named.safetensors", Checkpoint(replace(found.record, words=words), found.tensors))
    done = evaluate([tmp_path / "named.safetensors", networks[1]], **CPU)
    assert done.words == words and [one["words"] for one in as_data(done)["classes"]] == ["an arrow, shaft", "", ""]
    tables.show(classes(done), confusion(done))
    assert capsys.readouterr().out.count(f"{found.record.classes[0]}: an arrow, shaft") >= 2


def test_a_network_without_probabilities_has_a_loss_and_no_single_images(networks, tmp_path):
    plugin = Path(__file__).parents[1] / "plugins" / "squared_cost.py"
    (tmp_path / "tiny.yaml").write_text(SPEC.replace("type: softmax_loss", "type: squared_cost"))
    made = run(tmp_path / "tiny.yaml", out=tmp_path, devices="cpu:0,cpu:1", epochs=1, plugins=[plugin]).folder
    done = evaluate(made, plugins=[plugin], **CPU)
    assert done.results is None and done.rates == {} and done.errors == {} and done.images == 13
    assert done.loss == pytest.approx(read_metrics(made).evaluations[-1]["loss"])
    assert as_data(done, confusion=True)["classes"] == []
    with pytest.raises(ValueError, match="gives no class probabilities"):
        _ = done.confusion
    for given, views in (([made], 10), ([made, made], 1)):
        with pytest.raises(NetspecError, match="gives no class probabilities that could be averaged"):
            evaluate(given, plugins=[plugin], views=views, **CPU)


def test_the_figures_of_training_and_of_evaluation_are_the_same(networks):
    done = evaluate(listed(networks[0] / "checkpoints")[0], **CPU)
    last = read_metrics(networks[0]).evaluations[-1]
    assert done.errors == last["errors"] and done.loss == pytest.approx(last["loss"], rel=1e-6)
