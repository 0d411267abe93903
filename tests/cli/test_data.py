"""``netspec data`` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import ilsvrc_lookalike as lookalike
import numpy as np
import pytest
from cli_tools import MINI, imported_by, netspec
from data_samples import files, write_folder
from PIL import Image

from netspec.data.dataset import open_dataset
from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec
from netspec.runners.training.request import with_data
from netspec.spec import load as load_spec


def test_captions_of_mixed_images_name_both_classes_and_the_share() -> None:
    from netspec.cli.dataset.show import _captions

    drawn = {"type": "generated", "classes": 3, "images": 24, "val_images": 6}
    data = DataSpec(drawn, augment={"mixup": {"alpha": 1.0}})
    source = open_dataset(data, 0)
    with Pipeline(source.train, data, "train", 6, (24, 24, 3), 3, 0) as pipeline:
        batch = next(pipeline.epoch(0))
        found = _captions(batch, source)
    names = [source.words.get(name, name) for name in source.classes]
    shares = [f"{100 * share:.0f} %" for share in batch.mixed["share"]]
    others = [names[other] for other in batch.mixed["other"]]
    assert found == [f"{names[own]}, {a} {b}" for own, a, b in zip(batch.label, shares, others, strict=True)]


@pytest.fixture
def given_out(tmp_path: Path) -> Path:
    return lookalike.archives(tmp_path / "imagenet")


@pytest.mark.parametrize("name", ["prepare", "show", "stats"])
def test_help_of_data_commands(name: str) -> None:
    said = netspec("data", name, "--help")
    assert said.code == 0 and "Examples:" in said.out
    assert not imported_by("data", name, "--help") & {"numpy", "numba", "PIL", "rich", "scipy"}


def test_from_the_archives_to_a_prediction_with_the_words_of_its_classes(given_out: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = netspec("data", "prepare", given_out, out, "--size", 12, "--shard-size", 16, "--workers", 0)
    assert said.code == 0
    assert "36 train images and 12 val images in 4 shards (4 made now)" in said.out
    assert "odd images: 1 CMYK, 1 broken, 1 greyscale, 1 named as another format, 1 turned" in said.out
    assert "broken, left out: train: n01440764/n01440764_3.JPEG: " in said.err
    again = netspec("data", "prepare", given_out, out, "--size", 12, "--shard-size", 16, "--workers", 1)
    assert "all of them whole already" in again.out
    stats = json.loads(netspec("data", "stats", out, "--json", "--workers", 0).out)
    assert stats["images"] == 36 and stats["written"] == [str(out / "statistics.npz")]
    spec = tmp_path / "mini.yaml"
    spec.write_text(MINI.replace("units: 3", "units: 6").replace("scale: 0.01", "scale: 0.01, resize: 12"))
    run = tmp_path / "run"
    trained = netspec("run", spec, "--data", out, "--out", run, "--iterations", 2, "--workers", 0)
    assert trained.code == 0, trained.err
    with np.load(out / "statistics.npz") as kept:
        assert np.array_equal(np.load(next(run.rglob("mean.npy"))), kept["mean"][2:10, 2:10].astype(np.float32))
    image = tmp_path / "photo.jpg"
    image.write_bytes(lookalike.photograph(1))
    folder = next(run.rglob("mean.npy")).parent
    top = json.loads(netspec("predict", folder, image, "--top", "6", "--json").out)[0]["top"]
    assert {each["class"]: each["words"] for each in top} == lookalike.WORDS
    assert "n01440764: tench, Tinca tinca" in netspec("predict", folder, image, "--top", "6").out


def test_json_of_prepare(given_out: Path, tmp_path: Path) -> None:
    said = netspec("data", "prepare", given_out, tmp_path / "out", "--size", 16, "--workers", 0, "--json")
    told = json.loads(said.out)
    assert told["images"] == {"train": 36, "val": 12}
    assert told["broken"]["train"][0][0] == "n01440764/n01440764_3.JPEG"


def test_stats_of_any_source_go_to_a_file(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", files(2, 12, "train/"))
    said = netspec("data", "stats", source, "--size", 16, "-o", tmp_path / "s.npz", "--workers", 0)
    assert said.code == 0 and "24 images of 16 x 16 pixels" in said.out and f"written: {tmp_path / 's.npz'}" in said.out
    with np.load(tmp_path / "s.npz") as file:
        assert file["mean"].shape == (16, 16, 3) and file["eigenvectors"].shape == (3, 3)


def test_a_contact_sheet_shows_the_crops_of_training_in_their_order(tmp_path: Path) -> None:
    source, spec = write_folder(tmp_path / "in", files(3, 12, "train/")), tmp_path / "mini.yaml"
    spec.write_text(MINI.replace("scale: 0.01", "scale: 0.01, resize: 12, mirror: true"))
    out = tmp_path / "sheet.png"
    said = netspec("data", "show", spec, "--data", source, "-o", out, "--images", 10, "--epoch", 2)
    assert said.code == 0 and f"{out}: 10 of 33 images" in said.out  # a tenth is held out
    described = with_data(load_spec(spec, "data.split=0.1"), source)
    train = open_dataset(described.data, described.train.seed).train
    with Pipeline(train, described.data, "train", 10, (8, 8, 3), described.train.seed, 0) as pipeline:
        crops = next(pipeline.epoch(1)).image.copy()
    sheet = np.asarray(Image.open(out))
    for i, crop in enumerate(crops):  # each enlarged twelvefold, 102 pixels from the next
        columns = (sheet.shape[1] - 6) // 102
        left, top = i % columns * 102 + 6, i // columns * (96 + 23) + 6
        assert np.array_equal(sheet[top : top + 96 : 12, left : left + 96 : 12], crop)
    colour = "data.augment.colour.magnitude=deviation"
    tinted = netspec("data", "show", spec, "--data", source, "-o", out, "--images", 10, "--epoch", 2, "--set", colour)
    assert tinted.code == 0, tinted.err
    altered = np.asarray(Image.open(out)).astype(int) - sheet
    within = altered[6 : 6 + 96 : 12, 6 : 6 + 96 : 12][(crops[0] > 80).all(axis=2) & (crops[0] < 170).all(axis=2)]
    assert np.abs(within).max() > 0  # and one shift for the whole image, but for rounding
    assert (within.max(axis=0) - within.min(axis=0)).max() <= 1
    other = netspec("data", "show", spec, "--data", source, "--split", "val", "--set", "data.split=0")
    assert other.code == 1 and "no validation images" in other.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["prepare", "nowhere", "out"], "nowhere: no such folder or archive"),
        (["stats", "nowhere"], "nowhere: no such folder or archive"),
        (["prepare", ".", "out", "--quality", "high"], "'high' is neither a number from 1 to 100 nor lossless"),
        (["prepare", ".", "out", "--quality", "0"], "'0' is neither a number from 1 to 100 nor lossless"),
        (["prepare", ".", "out", "--shard-size", "0"], "--shard-size"),
    ],
)
def test_wrong_input_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = netspec("data", *args)
    assert found.code in (1, 2) and said in found.err and "Traceback" not in found.err

