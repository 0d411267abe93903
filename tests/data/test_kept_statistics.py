"""Statistics of whole sets: in one pass, in a file, and taken by runs in place of a pass of their own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from data_samples import files, message, write_folder
from PIL import Image

from netspec.data.dataset import Dataset, open_dataset
from netspec.data.image_statistics import image_statistics
from netspec.data.kept_statistics import kept_statistics, save_statistics
from netspec.data.layout import source_from_path
from netspec.data.mean import image_constants
from netspec.data.settings import DataSpec
from netspec.prepare.encode import Recipe
from netspec.prepare.prepare import Options, prepare

SIZE = 32


@pytest.fixture
def prepared(tmp_path: Path) -> Dataset:
    source = source_from_path(write_folder(tmp_path / "in", files(3, 30, "train/")))
    prepare(open_dataset(DataSpec(source), 0), source, tmp_path / "out", Options(Recipe(SIZE, 95), 32, 0))
    return open_dataset(DataSpec(source_from_path(tmp_path / "out")), 0)


def pixels(dataset: Dataset) -> np.ndarray:
    contents = (dataset.train.read(i) for i in range(len(dataset.train)))
    return np.stack([np.asarray(Image.open(io.BytesIO(each))) for each in contents if isinstance(each, bytes)])


@pytest.mark.parametrize("workers", [0, 1])
def test_one_pass_gives_what_numpy_gives_in_two(prepared: Dataset, workers: int) -> None:
    done = []
    found, broken = image_statistics(prepared.train, SIZE, workers, done.append)
    every = pixels(prepared)
    assert found.images == sum(done) == len(every) == 90 and not broken
    np.testing.assert_allclose(found.mean, every.mean(axis=0, dtype=np.float64), rtol=1e-14)
    flat = every.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found.covariance, np.cov(flat, rowvar=False, bias=True), rtol=1e-11)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True))
    np.testing.assert_allclose(found.eigenvalues, values[::-1], rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.eigenvectors), np.abs(vectors[:, ::-1]), atol=1e-9)


def test_broken_images_are_left_out_and_told(tmp_path: Path) -> None:
    source = write_folder(tmp_path, files(2, 20, "train/") | {"train/class0/999.jpg": b"\xff\xd8"})
    dataset = open_dataset(DataSpec(source_from_path(source)), 0)
    found, broken = image_statistics(dataset.train, 16, 0)
    assert found.images == 40 and [name for name, _ in broken] == ["class0/999.jpg"]


def test_a_run_takes_the_central_crop_of_what_is_kept(prepared: Dataset) -> None:
    data, shape = DataSpec(resize=SIZE, crop=24), (24, 24, 3)
    assert kept_statistics(prepared.train, data, shape) is None
    computed = image_constants(prepared.train, data, shape, 0, 0)["mean"]
    found, _ = image_statistics(prepared.train, SIZE, 0)
    assert prepared.train.kept is not None
    save_statistics(prepared.train.kept.path, found, prepared.train.kept.digest)
    assert np.array_equal(image_constants(prepared.train, data, shape, 0, 0)["mean"], computed)
    marked = found._replace(mean=np.arange(SIZE * SIZE * 3.0).reshape(SIZE, SIZE, 3))
    save_statistics(prepared.train.kept.path, marked, prepared.train.kept.digest)
    found = image_constants(prepared.train, data, shape, 0, 0)["mean"]
    assert np.array_equal(found, marked.mean[4:28, 4:28].astype(np.float32))


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (DataSpec(resize=40, crop=24), (24, 24, 3)),
        (DataSpec(), (24, 24, 3)),  # resized to the network's input
        (DataSpec(resize=SIZE), (24, 24, 1)),
    ],
)
def test_other_crops_are_not_served_by_it(prepared: Dataset, data: DataSpec, shape: tuple[int, int, int]) -> None:
    found, _ = image_statistics(prepared.train, SIZE, 0)
    assert prepared.train.kept is not None
    save_statistics(prepared.train.kept.path, found, prepared.train.kept.digest)
    assert kept_statistics(prepared.train, DataSpec(resize=SIZE), (24, 24, 3)) is not None
    assert kept_statistics(prepared.train, data, shape) is None


def test_statistics_of_another_set_do_not_count_and_other_files_are_told(prepared: Dataset) -> None:
    found, _ = image_statistics(prepared.train, SIZE, 0)
    kept = prepared.train.kept
    assert kept is not None
    save_statistics(kept.path, found, "of another")
    assert kept_statistics(prepared.train, DataSpec(resize=SIZE), (24, 24, 3)) is None
    kept.path.write_bytes(b"no archive")
    assert "holds no statistics" in message(lambda: kept_statistics(prepared.train, DataSpec(resize=SIZE), (24, 24, 3)))
    assert kept_statistics(prepared.train.part(np.arange(3)), DataSpec(resize=SIZE), (24, 24, 3)) is None
