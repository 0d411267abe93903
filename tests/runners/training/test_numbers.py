"""Networks that predict numbers, from the data to what is printed: trained, resumed, evaluated, asked."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from cli_tools import netspec
from PIL import Image
from training_runs import final, same, stopping_after, told, train

from netspec import api
from netspec.data.dataset import open_dataset
from netspec.events import CheckpointWritten, EvaluationDone
from netspec.spec import load

SPEC = """
netspec: 1
name: numbers
devices: [left, right]
inputs:
  image: {shape: [8, 8, 3]}
  place: {shape: [2]}
layers:
  - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 8, size: 3, pad: 1, init: {type: he}}
  - {name: relu1, type: relu}
  - {name: drop1, type: dropout, keep: 0.8}
  - {name: fc, type: dense, device: left, units: 2, inputs: {from: drop1, connect: all}, init: {type: xavier}}
  - {name: loss, type: mse, inputs: [fc, place]}
train: {batch: 8, epochs: 3, seed: 5, sgd: {learning_rate: 0.01}}
data: {source: {type: placed, images: 44, val_images: 13}, scale: 0.01, workers: 0}
"""
DRAWN, LISTED = "{type: placed, images: 44, val_images: 13}", "{type: table, path: set}"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "numbers.yaml"
    file.write_text(SPEC)
    return file


def table(folder: Path, split: str, count: int, more=()) -> Path:
    """Grey images with their brightness, and the same with its sign turned."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    rng, lines = np.random.default_rng(count), [["file", "bright", "dark"]]
    for number in range(count):
        level = int(rng.integers(0, 256))
        Image.new("RGB", (8, 8), (level,) * 3).save(folder / split / f"{number}.png")
        lines.append([f"{split}/{number}.png", f"{level / 255:.4f}", f"{-level / 255:.4f}"])
    file = folder / f"{split}.csv"
    with file.open("w", newline="") as text:
        csv.writer(text).writerows([*lines, *more])
    return file


def of_table(spec: Path, **more) -> Path:
    """The spec on a table beside it."""
    table(spec.parent / "set", "train", 24, **more)
    table(spec.parent / "set", "val", 9)
    spec.write_text(SPEC.replace(DRAWN, LISTED))
    return spec


def by_hand(run: Path, split: str = "val"):
    """The targets of a run's images, and what predict gives for them one by one."""
    described = load(run / "spec.resolved.yaml")
    images = getattr(open_dataset(described.data, described.train.seed), split).at_size(8)
    shown = [np.asarray(images.read(i)) for i in range(len(images))]
    return images.numbers, np.array([one.numbers for one in api.predict(run, shown)], np.float32)


def test_a_run_reports_distances_and_keeps_the_best_by_the_loss(spec):
    result, events = train(spec)
    assert set(result.errors) == {"rmse", "mae"}
    evaluated = told(events, EvaluationDone)
    assert all(math.isclose(one.errors["rmse"] ** 2, one.loss, rel_tol=1e-5) for one in evaluated)
    best = [one.best for one in told(events, CheckpointWritten)]
    losses = [one.loss for one in evaluated]
    assert best == [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    log = (result.folder / "log.txt").read_text()
    assert f"rmse {result.errors['rmse']:.3g}" in log and "mae error" not in log
    assert not (result.folder / "classes.txt").exists()


@pytest.mark.parametrize("change", ["", "ema: {decay: 0.9}, ", "schedule: {type: plateau, patience: 1}, "])
def test_a_run_goes_on_to_the_same_bits(spec, change):
    spec.write_text(SPEC.replace("train: {", f"train: {{{change}"))
    whole, _ = train(spec)
    stopped, _ = train(spec, listener=stopping_after(7))
    assert stopped.status == "interrupted"
    ended, _ = train(None, resume=stopped.folder, workers=1)
    assert same(final(ended), final(whole))


def test_other_numbers_are_not_the_run_s(spec):
    stopped, _ = train(of_table(spec), listener=stopping_after(2))
    file = spec.parent / "set" / "train.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:-1], lines[-1].replace(",", ",0", 1).replace(",-", ",-1")]))
    said = netspec("run", "--resume", stopped.folder)
    assert said.code == 1 and "the images in" in said.err and "train.numbers" in said.err


def test_evaluation_says_how_far_off_it_is_beside_predicting_the_mean(spec):
    result, _ = train(spec)
    target, prediction = by_hand(result.folder)
    done = json.loads(netspec("eval", result.folder, "--json").out)
    apart = prediction.astype(np.float64) - target
    spread = target.astype(np.float64) - target.mean(axis=0, dtype=np.float64)
    found = done["numbers"]
    assert done["errors"] == {"rmse": found["rmse"], "mae": found["mae"]} and done["classes"] == []
    np.testing.assert_allclose(found["rmse"], np.sqrt((apart**2).mean()), rtol=1e-5)
    np.testing.assert_allclose(found["mae"], abs(apart).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["of_mean"], np.sqrt((spread**2).mean()), rtol=1e-6)
    np.testing.assert_allclose(found["r2"], 1 - (apart**2).mean() / (spread**2).mean(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([one["mae"] for one in found["by_number"]], abs(apart).mean(axis=0), rtol=1e-5)
    assert found["low"] < found["rmse"] < found["high"]
    said = netspec("eval", result.folder)
    assert "rmse of the mean" in said.out and "by number" in said.out and "nan" not in said.out


def test_ten_views_and_several_networks_are_averaged(spec):
    runs = [train(spec, seed=seed)[0].folder for seed in (1, 1)]
    runs.append(train(spec, seed=2)[0].folder)
    for run in runs[1:]:
        api.evaluate(run, views=10)
    done = api.evaluate([runs[0], runs[2]], data=None)
    assert done.numbers is not None and done.results is None
    alone = [one.numbers.prediction for one in done.networks]
    np.testing.assert_allclose(done.numbers.prediction, (alone[0] + alone[1]) / 2, rtol=1e-6, atol=1e-7)
    (pair, _), *_ = done.number_differences()
    first, second = (np.sqrt(one.numbers.loss.mean()) for one in done.networks)
    assert math.isclose(pair.difference, first - second) and 0 <= pair.p <= 1
    same_twice = api.evaluate(runs[:2])
    assert [p for _, p in same_twice.number_differences()] == [1.0] * 3
    said = netspec("eval", runs[0], runs[2], "--views", 10)
    assert said.code == 0 and "five are mirrored" in said.out and "difference in rmse" in said.out, said


def test_ten_views_of_one_image_are_the_mean_of_ten_answers(spec):
    spec.write_text(SPEC.replace("data: {", "data: {resize: 10, crop: 8, "))
    result, _ = train(spec)
    done = api.evaluate(result.folder, views=10)
    described = load(result.folder / "spec.resolved.yaml")
    images = open_dataset(described.data, described.train.seed).val.at_size(10)
    whole = np.asarray(images.read(3))
    cuts = [whole[t : t + 8, left : left + 8] for t, left in ((1, 1), (0, 0), (0, 2), (2, 0), (2, 2))]
    alone = [api.predict(result.folder, [np.ascontiguousarray(one)])[0].numbers for one in _both(cuts)]
    assert done.numbers is not None
    np.testing.assert_allclose(done.numbers.prediction[3], np.mean(alone, axis=0), atol=1e-5)


def _both(cuts):
    """Each, and mirrored, enlarged so that the centre of 10 pixels is what is there."""
    return [np.pad(one, ((1, 1), (1, 1), (0, 0))) for cut in cuts for one in (cut, cut[:, ::-1])]


def test_networks_of_other_answers_have_no_average(spec):
    two = train(spec)[0].folder
    spec.write_text(SPEC.replace("shape: [2]", "shape: [1]").replace("units: 2", "units: 1").replace(DRAWN, LISTED))
    for split in ("train", "val"):
        file = table(spec.parent / "set", split, 16)
        file.write_text("".join(line.rpartition(",")[0] + "\n" for line in file.read_text().splitlines()))
    one = train(spec)[0].folder
    said = netspec("eval", two, one)
    assert said.code == 1 and "networks of different answers have no average" in said.err and "1 numbers" in said.err


def test_predict_and_predictions_files_hold_the_numbers(spec):
    result, _ = train(of_table(spec))
    file = spec.parent / "set" / "val" / "0.png"
    said = netspec("predict", result.folder, file, spec, "--json")
    good, bad = json.loads(said.out)
    assert said.code == 1 and good["top"] == [] and len(good["numbers"]) == 2 and "numbers" not in bad and bad["error"]
    shown = netspec("predict", result.folder, file)
    assert shown.code == 0 and f"  {good['numbers'][0]:.6g}  {good['numbers'][1]:.6g}\n" in shown.out
    table = list(csv.DictReader(netspec("predict", result.folder, file, spec, "--csv").out.splitlines()))
    assert list(table[0]) == ["image", "prediction_1", "prediction_2", "error"]
    np.testing.assert_allclose([float(table[0][f"prediction_{k}"]) for k in (1, 2)], good["numbers"], rtol=1e-6)
    assert table[1]["prediction_1"] == "" and table[1]["error"] == bad["error"]
    out = spec.parent / "seen.csv"
    assert netspec("eval", result.folder, "--out", out).code == 0
    with out.open() as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0]) == ["index", "image", "target_1", "prediction_1", "target_2", "prediction_2"]
    assert rows[0]["image"] == "val/0.png" and len(rows) == 9
    np.testing.assert_allclose([float(rows[0][f"prediction_{k}"]) for k in (1, 2)], good["numbers"], rtol=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "RUN", "--confusion"),
        ("eval", "RUN", "--classes"),
        ("eval", "RUN", "--out", "x.csv", "--top", "3"),
        ("table", "RUN"),
        ("figure", "confusion", "RUN", "-o", "x.svg"),
        ("figure", "predictions", "RUN", "-o", "x.svg"),
    ],
)
def test_what_needs_classes_is_refused_in_a_line(spec, monkeypatch, words):
    result, _ = train(spec, iterations=1)
    monkeypatch.chdir(spec.parent)
    said = netspec(*(result.folder if word == "RUN" else word for word in words))
    assert said.code == 1 and said.out == "" and len(said.err.splitlines()) == 1
    assert "the network predicts numbers: there are no classes" in said.err
    assert not (spec.parent / "x.svg").exists() and not (spec.parent / "x.csv").exists()


def test_runs_are_listed_compared_and_swept_by_their_distances(spec):
    first, second = (train(spec, seed=seed)[0].folder for seed in (1, 2))
    out = spec.parent / "runs"
    for words in (("runs", "--out", out), ("compare", first, second), ("curves", first)):
        said = netspec(*words)
        assert said.code == 0 and "rmse" in said.out and "nan" not in said.out and "rmse error" not in said.out, said
    said = netspec("sweep", spec, "--seeds", "1..2", "--iterations", 2, "--out", out / "swept", "--devices", "cpu")
    assert said.code == 0 and "rmse" in said.out and " ± " in said.out and "mae" in said.out, said


def test_features_have_no_labels(spec):
    result, _ = train(spec)
    out = spec.parent / "f.npz"
    assert netspec("features", result.folder, "-o", out).code == 0
    with np.load(out) as found:
        assert set(found) == {"features", "index", "names", "layer"} and len(found["index"]) == 13


def test_a_table_is_read_in_its_order_and_may_be_named_by_data(spec):
    of_table(spec)
    described = load(spec)
    data = open_dataset(described.data, 0)
    assert data.classes == () and len(data.train) == 24 and data.train.name(3) == "train/3.png"
    levels = [np.asarray(Image.open(spec.parent / "set" / data.train.name(i)))[0, 0, 0] for i in range(24)]
    np.testing.assert_allclose(data.train.numbers[:, 0], np.array(levels) / 255, atol=1e-4)
    part = data.train.part(np.array([3, 1]))
    assert part.name(0) == "train/3.png" and (part.numbers == data.train.numbers[[3, 1]]).all()
    spec.write_text(SPEC)
    said = netspec("run", spec, "--data", spec.parent / "set", "--out", spec.parent / "runs", "--epochs", 1)
    assert said.code == 0 and "24 training and 9 validation images with numbers" in said.out, said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,a,b\nx.png,1\n", "train.csv:2: expected a file and 2 finite numbers, got 'x.png,1'"),
        ("file,a,b\n\nx.png,1,nan\n", "train.csv:3: expected a file and 2 finite numbers"),
        ("file,a,b\nx.png,1,1e39\n", "train.csv:2: expected a file"),
        ("file,a,b\n,1,2\n", "train.csv:2: expected a file"),
        ("file,a,b\n", "train.csv: no images in it"),
        ("x.png,1,2\n", "train.csv:1: expected the names of the columns"),
        ("", "train.csv:1: expected the names of the columns"),
        ("file,a\nx.png,1\n", "'place' has the shape [2], and the data 1 numbers for each image (shape: [1])"),
        (None, "train.csv: cannot be read: No such file or directory"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_line(spec, text, message):
    of_table(spec)
    for split in ("train", "val"):
        file = spec.parent / "set" / f"{split}.csv"
        file.unlink()
        if text is not None and split == "train":
            file.write_text(text)
    said = netspec("run", spec, "--out", spec.parent / "runs")
    assert said.code == 1 and message.partition(" (shape")[0] in said.err and "Traceback" not in said.err, said.err


def test_columns_of_both_tables_are_the_same(spec):
    of_table(spec)
    file = spec.parent / "set" / "val.csv"
    file.write_text(file.read_text().replace("bright,dark", "dark,bright"))
    said = netspec("run", spec, "--out", spec.parent / "runs")
    assert said.code == 1 and "val.csv:1: the columns of numbers are not the training table's" in said.err


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["inputs.place.shape=[3]", "layers.fc.units=3"], "'place' has the shape [3], and the data 2 numbers"),
        (["inputs.place.dtype=int32"], "targets must be float32, got int32"),
        (["layers.fc.units=3"], "3 numbers are predicted, and the target has the shape [2]"),
        (["layers.loss={type: softmax_loss, inputs: [fc, place]}"], "labels must be int32 of shape"),
        (["data.source={type: generated}"], "training takes an image of shape [height, width, channels]"),
        (["inputs.label={dtype: int32}"], "'placed' has images with numbers to be predicted; there are: image"),
        (["inputs.more={shape: [2]}"], "'placed' has images with numbers to be predicted"),
        (["inputs.image.shape=[2, 8, 8, 3]"], "'placed' has single images"),
    ],
)
def test_what_no_numbers_fit_is_refused_by_validate_and_run(spec, sets, message):
    options = [word for one in sets for word in ("--set", one)]
    said = netspec("validate", spec, *options)
    assert said.code == 1 and message in said.err, said.err
    ran = netspec("run", spec, *options, "--out", spec.parent / "runs")
    assert ran.code == 1 and ran.err == said.err


def test_a_network_of_classes_has_no_use_for_numbers(spec):
    text = SPEC.replace("place: {shape: [2]}", "label: {dtype: int32}")
    spec.write_text(text.replace("mse, inputs: [fc, place]", "softmax_loss, inputs: [fc, label]"))
    said = netspec("validate", spec)
    assert said.code == 1 and "'placed' has images with numbers to be predicted; there are: image" in said.err


def test_mirrored_images_with_numbers_are_remarked_on(spec):
    said = netspec("validate", spec, "--set", "data.mirror=true")
    assert said.code == 0 and "images are mirrored, and their numbers stay as they are" in said.out


def test_arrays_without_labels(spec):
    rng = np.random.default_rng(0)
    for split, count in (("train", 64), ("val", 24)):
        folder = spec.parent / "set" / split
        folder.mkdir(parents=True)
        x = rng.normal(size=(count, 3))
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", x @ [0.5, -1.0, 2.0])  # one number each: (N,)
    spec.write_text("""
netspec: 1
name: line
devices: [here]
inputs: {x: {shape: [3]}, y: {shape: [1]}}
layers:
  - {name: fc, type: dense, inputs: x, units: 1}
  - {name: loss, type: mse, inputs: [fc, y]}
train: {batch: 16, epochs: 30, sgd: {learning_rate: 0.1, momentum: 0.5}}
data: {source: {type: arrays, path: set}, workers: 0}
""")
    result, _ = train(spec, devices="cpu")
    np.testing.assert_allclose(final(result)["fc.weight"].ravel(), [0.5, -1.0, 2.0], atol=1e-3)
    assert result.errors["rmse"] < 1e-3
    said = netspec("eval", result.folder)
    assert said.code == 0 and "100.0 %" in said.out and "by number" not in said.out, said
    np.save(spec.parent / "set" / "train" / "y.npy", np.zeros(64))
    stopped = netspec("run", "--resume", result.folder, "--epochs", 31)
    assert stopped.code == 1 and "train.numbers" in stopped.err


def test_the_places_of_shapes_are_where_they_are_drawn():
    data = open_dataset(load("regression").data, 0)
    images, places = data.val.at_size(64), data.val.numbers
    assert abs(places).max() <= 0.6 and abs(places.mean(axis=0)).max() < 0.06
    other = open_dataset(load("regression").data, 1).val.numbers
    assert not (other == places).any() and not np.isin(data.train.numbers[:9], places).any()
    grey = np.stack([np.asarray(images.read(i), np.float64) for i in range(60)])
    vivid = grey.max(axis=3) - grey.min(axis=3) > 90
    found = [(np.argwhere(one).mean(axis=0)[::-1] + 0.5) / 32 - 1 for one in vivid if one.sum() > 150]
    wanted = places[:60][[one.sum() > 150 for one in vivid]]
    assert len(found) > 20 and abs(np.array(found) - wanted).mean() < 0.08
