"""The pipeline: the same batches for any number of workers, exact resumption, views, masks and the mean image."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from data_samples import encoded, files, folder_source, jpeg, picture, real, tar_source, write_folder, write_tar
from PIL import Image

from netspec.data.dataset import Dataset, open_dataset
from netspec.data.decode import show
from netspec.data.geometry import Geometry
from netspec.data.mean import image_constants
from netspec.data.pipeline import SLOTS, Pipeline
from netspec.data.shuffle import permutation, sample
from netspec.data.workers.fetch import VIEWS
from netspec.data.workers.pool import worker_count, workers_note
from netspec.errors import NetspecError
from netspec.spec.types import DataSpec

SHAPE = (24, 24, 3)
DATA = DataSpec(resize=32, mirror=True)


@pytest.fixture
def source(tmp_path) -> Dataset:
    content = files(3, 9, "train/") | files(3, 4, "val/")
    return folder_source(write_folder(tmp_path, content))


def digest(pipeline: Pipeline, epoch: int, start: int = 0) -> list[str]:
    """One hash a batch, over all that it holds."""
    found = []
    for batch in pipeline.epoch(epoch, start):
        parts = (batch.image, batch.label, batch.indices, np.array([batch.valid, batch.number]))
        found.append(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
        batch.release()
    return found


def all_digests(source: Dataset, workers: int, data: DataSpec = DATA) -> list[list[str]]:
    with Pipeline(source.train, data, "train", 5, SHAPE, 7, workers) as train:
        found = [digest(train, epoch) for epoch in (0, 1, 5)]
    with Pipeline(source.val, data, "val", 5, SHAPE, 7, workers) as val:
        return [*found, digest(val, 0)]


def test_any_number_of_workers_gives_the_same_bytes(source):
    expected = all_digests(source, 0)
    assert [len(batches) for batches in expected] == [5, 5, 5, 3]
    assert len({name for batches in expected for name in batches}) == 18
    for workers in (1, 2, 3):
        assert all_digests(source, workers) == expected


def test_folder_and_tar_give_the_same_bytes(source, tmp_path):
    write_tar(tmp_path / "train.tar", files(3, 9, "train/"))
    write_tar(tmp_path / "val.tar", files(3, 4, "val/"))
    assert all_digests(tar_source(tmp_path), 0) == all_digests(source, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_rest_of_the_epoch(source, workers):
    with Pipeline(source.train, DATA, "train", 4, SHAPE, 1, workers) as pipeline:
        whole = digest(pipeline, 3)
        for start in (0, 2, 5, 6):
            assert digest(pipeline, 3, start) == whole[start:]
    with Pipeline(source.train, DATA, "train", 4, SHAPE, 1, workers) as pipeline:
        assert digest(pipeline, 3, 4) == whole[4:]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_given_up_half_way_does_not_disturb_the_next(source, workers):
    with Pipeline(source.train, DATA, "train", 4, SHAPE, 1, workers) as pipeline:
        whole = digest(pipeline, 1)
        for stop in range(4):
            for batch in pipeline.epoch(0):
                batch.release()
                if batch.number == stop:
                    break
            assert digest(pipeline, 1) == whole


def test_an_epoch_is_a_permutation_and_drops_its_remainder(source):
    with Pipeline(source.train, DATA, "train", 4, SHAPE, 1, 0) as pipeline:
        assert pipeline.batches == 6
        for epoch in (0, 1):
            shown = []
            for batch in pipeline.epoch(epoch):
                assert batch.valid == 4
                assert np.array_equal(batch.label, source.train.labels[batch.indices])
                shown += batch.indices.tolist()
                batch.release()
            assert shown == permutation(27, 1, epoch)[:24].tolist()
    assert permutation(27, 1, 0).tolist() != permutation(27, 1, 1).tolist() != permutation(27, 2, 1).tolist()
    assert sorted(permutation(27, 1, 0)) == list(range(27))


def test_the_order_is_for_ever():
    """These numbers are in users' checkpoints: a change of them breaks the resumption of old runs."""
    assert permutation(10, 0, 0).tolist() == [1, 9, 2, 8, 3, 5, 0, 4, 7, 6]
    assert sample(10, 4, 0).tolist() == [0, 1, 7, 9]


def test_crops_and_mirrors_vary(source):
    with Pipeline(source.train, DATA, "train", 9, SHAPE, 1, 0) as pipeline:
        shown: dict[int, set[bytes]] = {}
        for epoch in range(8):
            for batch in pipeline.epoch(epoch):
                for index, image in zip(batch.indices.tolist(), batch.image, strict=True):
                    shown.setdefault(index, set()).add(image.tobytes())
                batch.release()
    assert min(map(len, shown.values())) >= 5


def test_evaluation_shows_each_image_once_and_masks_the_last_batch(source):
    with Pipeline(source.val, DATA, "val", 5, SHAPE, 1, 0) as pipeline:
        batches = [(b.valid, b.indices.tolist(), b.label.tolist(), b.image[b.valid :].max(initial=0), b.release())
                   for b in pipeline.epoch(0)]
    assert [valid for valid, *_ in batches] == [5, 5, 2]
    assert [index for _, indices, *_ in batches for index in indices] == [*range(12), -1, -1, -1]
    assert batches[-1][2:4] == ([2, 2, 0, 0, 0], 0)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_are_its_rows(source, split, parts):
    """What processes that share a batch read; a validation set's last batch may leave some of them without an image."""
    images = source.train if split == "train" else source.val

    def rows(batch, part):
        with Pipeline(images, DATA, split, batch, SHAPE, 7, 0, None, part) as pipeline:
            for one in pipeline.epoch(0):
                yield one.valid, [one.image[i].tobytes() for i in range(one.valid)], one.label[: one.valid].tolist()
                one.release()

    whole = list(rows(4, (0, 1)))
    shares = [list(rows(4 // parts, (part, parts))) for part in range(parts)]
    for number, (valid, pictures, labels) in enumerate(whole):
        each = [share[number] for share in shares]
        assert sum(one[0] for one in each) == valid
        assert [row for one in each for row in one[1]] == pictures and [row for one in each for row in one[2]] == labels
    assert {len(share) for share in shares} == {len(whole)}


def test_ten_views_are_centre_corners_and_mirrors(tmp_path):
    source = folder_source(write_folder(tmp_path, {"train/a/1.jpg": jpeg(1), "val/a/1.jpg": jpeg(2, 32, 32)}))
    data = DataSpec(resize=32, views=10)
    with Pipeline(source.val, data, "val", 4, SHAPE, 0, 1) as pipeline:
        assert (pipeline.views, pipeline.batches) == (10, 3)
        shown = crops_of(pipeline)[0]
    with Pipeline(source.val, DataSpec(resize=32), "val", 1, (32, 32, 3), 0, 0) as pipeline:
        whole = next(pipeline.epoch(0)).image[0]
    for view, (row, column) in enumerate([(4, 4), (0, 0), (0, 8), (8, 0), (8, 8)]):
        assert np.array_equal(shown[view], whole[row : row + 24, column : column + 24])
        assert np.array_equal(shown[view + 5], shown[view][:, ::-1])


def crops_of(pipeline: Pipeline) -> dict[int, list[np.ndarray]]:
    """The crops of each image, in the order in which they come."""
    found: dict[int, list[np.ndarray]] = {}
    for batch in pipeline.epoch(0):
        for index, image in zip(batch.indices[: batch.valid], batch.image, strict=False):
            found.setdefault(int(index), []).append(image.copy())
        batch.release()
    return found


@pytest.mark.parametrize(("batch", "workers"), [(3, 0), (7, 1), (25, 2), (64, 1)])
def test_views_of_an_image_decoded_once_are_those_that_it_has_alone(tmp_path, batch, workers):
    """Resized or not, JPEG or not, upright or not, with images between that cannot be read and batches of any size."""
    turned = Image.Exif()
    turned[0x0112] = 6
    plain = [jpeg(1, 48, 40), jpeg(2, 32, 32), b"", encoded(picture(3, 50, 33), "PNG")]
    pictures = [*plain, encoded(picture(4, 40, 32), exif=turned)]
    content = {f"{split}/a/{i}.jpg": content for split in ("train", "val") for i, content in enumerate(pictures)}
    split = folder_source(write_folder(tmp_path, content)).val
    assert split is not None
    with Pipeline(split, DataSpec(resize=32, views=10), "val", batch, SHAPE, 0, workers) as pipeline:
        shown = crops_of(pipeline)
        assert [name.rpartition("/")[2] for name, _ in pipeline.broken] == ["2.jpg"]
    assert sorted(shown) == [0, 1, 3, 4]
    for index, images in shown.items():
        assert len(images) == 10
        for choose, image in zip(VIEWS, images, strict=True):
            alone = np.empty(SHAPE, np.uint8)
            show(split.read(index), Geometry(24, 24, 3, 32), choose, alone)
            assert np.array_equal(image, alone)


def test_tasks_of_a_batch_share_no_image(source):
    with Pipeline(source.val, DataSpec(resize=32, views=10), "val", 64, SHAPE, 0, 2) as pipeline:
        starts = [pipeline._starts(first, 64) for first in (0, 64)]
    assert starts == [[0, 20, 40, 60], [0, 16, 36, 56]]


def test_held_batches_stay_as_they_are_until_released(source):
    with Pipeline(source.train, DATA, "train", 4, SHAPE, 1, 1) as pipeline:
        batches = pipeline.epoch(0)
        held = [next(batches) for _ in range(SLOTS - 1)]
        copies = [batch.image.copy() for batch in held]
        for _ in range(3):
            next(batches).release()
        assert all(np.array_equal(batch.image, copy) for batch, copy in zip(held, copies, strict=True))
        held[0].release()
        held[0].release()
    assert np.array_equal(held[1].image, copies[1])


def test_holding_every_buffer_is_an_error_and_not_a_hang(source):
    with Pipeline(source.train, DATA, "train", 2, SHAPE, 1, 0) as pipeline:
        batches = pipeline.epoch(0)
        held = [next(batches) for _ in range(SLOTS)]
        with pytest.raises(RuntimeError, match="release"):
            next(batches)
        assert len(held) == SLOTS


def test_misuse_is_told(source):
    with pytest.raises(NetspecError, match="27 training images cannot fill a batch of 64"):
        Pipeline(source.train, DATA, "train", 64, SHAPE, 0, 0)
    pipeline = Pipeline(source.train, DATA, "train", 4, SHAPE, 0, 0)
    with pytest.raises(ValueError, match="batch 7 of 6"):
        pipeline.epoch(0, start=7)
    first = pipeline.epoch(0)
    pipeline.epoch(1)
    with pytest.raises(RuntimeError, match="another epoch"):
        next(first)
    pipeline.close()
    pipeline.close()
    with pytest.raises(RuntimeError, match="closed"):
        pipeline.epoch(0)


def test_one_channel(source):
    with Pipeline(source.val, DATA, "val", 5, (24, 24, 1), 0, 0) as pipeline:
        assert next(pipeline.epoch(0)).image.shape == (5, 24, 24, 1)


def test_generated_pictures_are_drawn_at_the_size_needed():
    source = open_dataset(DataSpec({"type": "generated", "classes": 10, "images": 30}), 0)
    with Pipeline(source.train, DATA, "train", 10, SHAPE, 0, 0) as pipeline:
        assert pipeline.split.read(0).size == (32, 32)
    with Pipeline(source.train, DataSpec(), "train", 10, SHAPE, 0, 0) as pipeline:
        assert pipeline.split.read(0).size == (24, 24)
        batch = next(pipeline.epoch(0))
        assert np.array_equal(batch.image[0], np.asarray(pipeline.split.read(int(batch.indices[0]))))


def test_workers_are_bounded_by_the_cores(monkeypatch):
    monkeypatch.setattr("netspec.data.workers.pool.cores", lambda: 3)
    assert [worker_count(wanted) for wanted in (None, 0, 1, 6, 7, 100)] == [2, 0, 1, 6, 6, 6]
    assert workers_note(None) is workers_note(0) is workers_note(6) is None
    assert workers_note(100) == "6 data workers instead of 100: 2 for each of 3 cores; more only take time to start"
    monkeypatch.setattr("netspec.data.workers.pool.cores", lambda: 64)
    assert worker_count(None) == 16


@pytest.mark.parametrize("workers", [0, 2])
def test_mean_image(source, workers):
    with Pipeline(source.train, DATA, "val", 27, SHAPE, 0, 0) as pipeline:
        exact = next(pipeline.epoch(0)).image.mean(axis=0, dtype=np.float64)
    mean = image_constants(source.train, DATA, SHAPE, 0, workers)["mean"]
    assert mean.dtype == np.float32
    assert np.allclose(mean, exact, rtol=1e-6)
    channel = image_constants(source.train, DataSpec(resize=32, mean="channel"), SHAPE, 0, workers)["mean"]
    assert channel.shape == SHAPE
    assert np.allclose(channel, exact.mean(axis=(0, 1)), rtol=1e-6)
    assert not image_constants(source.train, DataSpec(mean="none"), SHAPE, 0)["mean"].any()


def test_the_mean_is_of_a_sample_that_the_seed_chooses(source):
    source.train.mean_images = 5
    chosen = sample(27, 5, 3)
    with Pipeline(source.train, DATA, "val", 27, SHAPE, 0, 0) as pipeline:
        expected = next(pipeline.epoch(0)).image[chosen].mean(axis=0, dtype=np.float64)
    assert np.allclose(image_constants(source.train, DATA, SHAPE, 3, 0)["mean"], expected, rtol=1e-6)
    assert not np.allclose(image_constants(source.train, DATA, SHAPE, 4, 0)["mean"], expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "start"), [("imagenette", 247), ("imagenet-sample", 59)])
def test_real_photographs_give_the_same_bytes_for_any_number_of_workers(name, start):
    """The first are resized; the second are decoded without Pillow."""
    source = tar_source(real(name))
    data = DataSpec(resize=256, mirror=True)
    found = set()
    for workers in (0, 1, 2):
        with Pipeline(source.train, data, "train", 16, (224, 224, 3), 0, workers) as pipeline:
            batches = pipeline.epoch(2, start)
            found.add(b"".join(hashlib.sha256(next(batches).image).digest() for _ in range(3)))
    assert len(found) == 1


def test_a_worker_imports_neither_numba_nor_layers_nor_runners_nor_a_registry():
    unneeded = ("numba", "jsonschema", "netspec.layers", "netspec.runners", "netspec.planning", "netspec.registry")
    code = (
        "import sys, netspec.data.workers.process, netspec.data.sources.generated, netspec.data.sources.folder;"
        f"print([name for name in sys.modules if name.startswith({unneeded!r})])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "[]\n"


def test_a_run_leaves_decoding_and_its_libraries_to_workers():
    unneeded = {"PIL", "simplejpeg", "netspec.data.decode"}
    code = f"import sys, netspec.runners.training.launch; print({unneeded} & {{*sys.modules}})"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "set()\n"


def test_a_worker_starts_quickly(source):
    """Most of it is the import of numpy; a loaded machine is given time."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        with Pipeline(source.train, DATA, "train", 4, SHAPE, 0, 1) as pipeline:
            next(pipeline.epoch(0))
            times.append(time.perf_counter() - began)
    assert min(times) < 1.5
