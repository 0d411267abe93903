"""Figures that show images to a trained network, against predictions, features and matrices that are computed apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_tools import netspec
from PIL import Image
from training_runs import SPEC

from netspec import api
from netspec.data.source import BrokenImage, Part
from netspec.errors import NetspecError
from netspec.figures import picture
from netspec.figures._pictures import PIXELS, picture_of, some_of
from netspec.figures._sources import spoken, words_at
from netspec.figures.confusion import chosen
from netspec.spec import loads


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    (folder / "tiny.yaml").write_text(SPEC.replace("mirror: true", "mean: channel"))
    api.run(folder / "tiny.yaml", out=folder / "runs", devices="cpu:0,cpu:1", epochs=2)
    return next((folder / "runs" / "tiny").iterdir())


@pytest.fixture(scope="module")
def whole(trained):
    """All images of the validation set, one by one."""
    return api.evaluate(trained, top=3, probabilities=True)


def test_predictions_are_those_of_the_evaluation(trained, whole):
    seen = picture("predictions", [trained], count=6, seed=3).data
    by_name = {name: place for place, name in enumerate(whole.results.names)}
    assert len({one.name for one in seen}) == 6
    for one in seen:
        probabilities = whole.results.probabilities[by_name[one.name]]
        assert one.label == whole.classes[whole.results.label[by_name[one.name]]]
        assert [name for name, _ in one.top] == [whole.classes[n] for n in np.argsort(-probabilities, kind="stable")]
        assert [value for _, value in one.top] == pytest.approx(sorted(probabilities, reverse=True), rel=1e-5)


def test_the_seed_decides_which_images(trained):
    names = [[one.name for one in picture("predictions", [trained], count=5, seed=seed).data] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


def test_more_images_than_there_are_shows_all(trained):
    assert len(picture("predictions", [trained], count=40).data) == 13


def test_bars_have_their_lengths_and_the_right_one_its_colour(trained):
    from netspec.figures._style import _RC, COLOURS

    made = picture("predictions", [trained], count=3)
    import matplotlib

    with matplotlib.rc_context(_RC):
        axes = made.kind.draw(made.data).axes
    for one, bars in zip(made.data, axes[3:], strict=True):
        assert [patch.get_width() for patch in bars.patches] == pytest.approx([value for _, value in one.top])
        own = [matplotlib.colors.to_hex(patch.get_facecolor()) == COLOURS[1] for patch in bars.patches]
        assert own == [name == one.label for name, _ in one.top]


def test_files_can_be_shown_instead(trained, tmp_path):
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
    command = ("figure", "predictions", trained, "--images", tmp_path / "red.png", "-o", tmp_path / "f.svg")
    said = netspec(*command, "--json")
    (data,) = json.loads(said.out)
    (expected,) = api.predict(trained, [tmp_path / "red.png"])
    assert data["image"] == "red.png" and data["class"] is None
    assert [one["class"] for one in data["top"]] == [name for name, _ in expected.top]
    assert ">red.png</text>" in (tmp_path / "f.svg").read_text()
    said = netspec("figure", "predictions", trained, "--images", tmp_path / "gone.png", "-o", tmp_path / "f.svg")
    assert said.code == 1 and "gone.png: no such file" in said.err.lower()


@pytest.mark.parametrize("layer", ["", "pool1"])
def test_neighbours_are_the_nearest_by_brute_force(trained, layer):
    found = picture("neighbours", [trained], count=4, nearest=3, layer=layer).data
    train, val = (api.features(trained, split=split, layer=layer or None) for split in ("train", "val"))
    points, rows = (one.values.reshape(len(one.values), -1).astype(np.float64) for one in (train, val))
    assert found.among == 44 and found.layer == train.layer
    for row in found.rows:
        query = val.names.index(row[0].name)
        distances = np.sqrt(np.square(points - rows[query]).sum(axis=1))
        order = np.argsort(distances.astype(np.float32), kind="stable")[:3]
        assert sorted(one.distance for one in row[1:]) == [one.distance for one in row[1:]]
        assert [one.distance for one in row[1:]] == pytest.approx(distances[order].tolist(), rel=1e-5)
        assert {one.name for one in row[1:]} <= set(train.names)
        assert row[0].label == val.classes[val.labels[query]]
        assert all(one.label == train.classes[train.labels[train.names.index(one.name)]] for one in row[1:])


def test_fewer_training_images_may_take_part(trained):
    found = picture("neighbours", [trained], count=2, nearest=5, among=7).data
    assert found.among == 7 and len({one.name for row in found.rows for one in row[1:]}) <= 7
    said = netspec("figure", "neighbours", trained, "--among", 3, "-o", "x.svg")
    assert said.code == 1 and "3 training images can be read; --nearest asks for more" in said.err


def test_the_matrix_counts_what_the_evaluation_says(trained, whole):
    data = picture("confusion", [trained]).data
    counts = np.zeros((3, 3), int)
    for label, taken in zip(whole.results.label, whole.results.top[:, 0], strict=True):
        counts[label, taken] += 1
    there = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    assert data.counts.tolist() == counts[there][:, there].tolist()
    assert data.error == whole.errors["top1"]
    text = picture("confusion", [trained]).render().decode()
    for name, count in zip(whole.classes, counts.sum(axis=1), strict=True):
        assert f">{name} ({count})</text>" in text


def test_classes_are_called_by_words_where_there_are_some():
    words = {"n1": "tench, Tinca tinca", "n2": "crane", "n3": "crane, lifting device"}
    assert spoken(["n1", "n2", "n3", "n\x1b4"], words) == ["tench", "crane (n2)", "crane (n3)", "n\\x1b4"]


def test_words_of_a_run_are_in_every_figure_of_images(tmp_path):
    """A set with synset_words.txt beside its class folders, as ImageNet's is."""
    for split, count in (("train", 8), ("val", 4)):
        for number in range(count):
            place = tmp_path / "images" / split / f"n0{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (255 * (number % 2), 10 * number, 0)).save(place / f"{number}.png")
    (tmp_path / "images" / "synset_words.txt").write_text("n00 tench, Tinca tinca\nn01 great white shark\n")
    (tmp_path / "tiny.yaml").write_text(SPEC.replace("batch: 8", "batch: 4"))
    made = api.run(tmp_path / "tiny.yaml", data=tmp_path / "images", out=tmp_path / "runs", devices="cpu", epochs=1)
    file = tmp_path / "images" / "val" / "n00" / "0.png"
    for kind, more in (
        ("predictions", {}),
        ("predictions", {"images": [str(file)]}),
        ("neighbours", {"nearest": 2, "count": 4}),
        ("confusion", {}),
    ):
        text = json.dumps(picture(kind, [made.folder], **more).numbers)
        assert '"tench"' in text and '"great white shark"' in text and '"n00"' not in text, (kind, text)
    assert words_at(made.checkpoint) == words_at(made.folder)


def test_of_many_classes_those_with_most_errors_are_shown():
    counts = np.diag(np.full(1000, 50))
    counts[7, 9], counts[7, 500], counts[400, 401], counts[3, 4] = 5, 2, 6, 1
    made = chosen("net", [f"c{n}" for n in range(1000)], counts, 2, 0.1)
    assert made.names == ("c7", "c400") and made.columns == ("c7", "c400", "others") and made.classes == 1000
    assert made.counts.tolist() == [[50, 0, 7], [0, 50, 6]]


def test_classes_without_images_are_left_out_unless_they_are_guessed():
    counts = np.zeros((5, 5), int)
    counts[0, 0], counts[0, 3] = 4, 1
    made = chosen("net", list("abcde"), counts, 30, 0.2)
    assert made.names == ("a", "d") and made.counts.tolist() == [[4, 1], [0, 0]]


def test_pictures_are_what_the_network_sees_at_more_pixels():
    spec = loads(SPEC.replace("mirror: true", "resize: 10"))
    image = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8)[:, None, None], (1, 300, 3)))
    page = picture_of(image, spec)
    assert page.shape == (PIXELS, PIXELS, 3)
    rows = page[:, 0, 0].astype(int)
    assert abs(rows[0] - 20) <= 1 and abs(rows[-1] - 179) <= 1  # the middle 8 of 10 parts


def test_chosen_images_are_those_of_the_split():
    from netspec.data.dataset import open_dataset

    spec = loads(SPEC)
    split = open_dataset(spec.data, 5).train
    some = some_of(split, 6, seed=1)
    places = np.random.default_rng(1).permutation(len(split))[:6]
    assert len(some) == 6 and len(set(places.tolist())) == 6
    assert [some.name(i) for i in range(6)] == [split.name(place) for place in places.tolist()]
    assert some.labels.tolist() == split.labels[places].tolist()
    assert some.at_size(32).read(2).size == (32, 32)


def test_without_a_test_image_that_can_be_read_there_are_no_neighbours(trained, monkeypatch):
    def read(self, i):
        if self._split._split == "val":
            raise BrokenImage("torn")
        return self._split.read(int(self._indices[i]))

    monkeypatch.setattr(Part, "read", read)
    with pytest.raises(NetspecError, match="none of the 4 test images can be read"):
        picture("neighbours", [trained], count=4, nearest=3)
