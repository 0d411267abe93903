"""Sequences of frames: which frames are read, cut and altered alike, and their mean."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from data_samples import encoded, folder_source, picture, write_folder
from PIL import Image

from netspec.data.dataset import Dataset, open_dataset
from netspec.data.frames import spread
from netspec.data.mean import image_constants
from netspec.data.pipeline import Pipeline
from netspec.data.source import BrokenImage
from netspec.errors import NetspecError
from netspec.spec.types import DataSpec

SHAPE = (3, 16, 16, 3)
MOVING = DataSpec({"type": "moving", "images": 48, "val_images": 8})
TRICKY = DataSpec(resize=20, mirror=True, augment={"cutout": {"size": 5}, "colour": {"sigma": 0.5}})


def animation(levels: list[int], kind: str = "GIF", size: int = 16) -> bytes:
    """A file whose frames are even, of these grey levels."""
    frames = [Image.new("RGB", (size, size), (level,) * 3) for level in levels]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)


def animations(tmp_path, *some: bytes) -> Dataset:
    return folder_source(write_folder(tmp_path, {f"train/a/{i}.gif": one for i, one in enumerate(some)}))


def first_batch(source: Dataset, data: DataSpec, split: str, shape=SHAPE, batch: int = 4) -> np.ndarray:
    some = source.train if split == "train" else source.val
    with Pipeline(some, data, split, batch, shape, 1, 0) as pipeline:
        return next(pipeline.epoch(0)).image.copy()


@pytest.mark.parametrize(
    ("total", "count", "wanted"), [(4, 4, [0, 1, 2, 3]), (9, 3, [0, 4, 8]), (4, 3, [0, 2, 3]), (5, 1, [0]), (1, 1, [0])]
)
def test_frames_are_taken_at_even_distances_with_the_first_and_the_last(total, count, wanted):
    assert spread(total, count) == wanted


def test_too_few_frames_are_no_sequence():
    with pytest.raises(BrokenImage, match="1 frame, where the network takes 3"):
        spread(1, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_of_an_animation_are_read_from_its_file(tmp_path, kind):
    levels = [0, 64, 128, 192, 255]
    source = animations(tmp_path, animation(levels, kind))
    seen = first_batch(source, DataSpec(), "train", batch=1)
    assert seen.shape == (1, *SHAPE)
    assert (seen == np.array([0, 128, 255])[None, :, None, None, None]).all()


def test_files_that_are_no_sequences_are_told(tmp_path):
    source = animations(tmp_path, animation([0, 9]), encoded(picture(0)), b"", b"nothing")
    with pytest.raises(NetspecError, match="none of the 4 images") as error:
        first_batch(source, DataSpec(), "train", batch=2)
    for reason in ("2 frames, where the network takes 3", "1 frame, where", "an empty file", "not an animation in"):
        assert reason in str(error.value)


def test_frames_are_cut_and_altered_alike(tmp_path):
    """An animation of one picture gives that picture's rows in training, whatever is drawn for it."""
    one = picture(1)
    still, moving = animations(tmp_path / "1", encoded(one, "PNG")), animations(
        tmp_path / "2", encoded(one, "TIFF", save_all=True, append_images=[one] * 4)
    )
    alone = first_batch(still, TRICKY, "train", SHAPE[1:], 1)
    assert (first_batch(moving, TRICKY, "train", batch=1) == alone[:, None]).all()


def test_any_number_of_workers_gives_the_same_bytes_of_drawn_sequences():
    def digests(workers: int, start: int = 0) -> list[str]:
        source = open_dataset(MOVING, 0)
        with Pipeline(source.train, TRICKY, "train", 8, SHAPE, 7, workers) as pipeline:
            found = []
            for batch in pipeline.epoch(1, start):
                found.append(hashlib.sha256(batch.image.tobytes() + batch.beside["tint"].tobytes()).hexdigest())
                batch.release()
            return found

    wanted = digests(0)
    assert len(set(wanted)) == 6 and digests(2) == wanted and digests(2, 4) == wanted[4:]


def test_the_mean_is_one_image_for_all_frames(tmp_path):
    source = animations(tmp_path, animation([0, 60, 120]), animation([20, 40, 60]))
    mean = image_constants(source.train, DataSpec(), SHAPE, 0, 0)["mean"]
    assert mean.shape == SHAPE and (mean == 50).all()
    constants = image_constants(source.train, TRICKY, SHAPE, 0, 0)
    assert constants["mean"].shape == SHAPE and constants["components"].shape == (3, 3)


def test_a_single_frame_says_nothing_of_the_motion_and_all_of_them_say_it():
    """In any frame the mean image of each class is the same but for chance; what moves, moves as the class says."""
    source = open_dataset(DataSpec({"type": "moving", "images": 1600, "val_images": 0, "size": 16}), 0)
    shown = np.stack([np.stack([np.asarray(f) for f in source.train.of_frames(2).read(i)]) for i in range(1600)])
    for frame in (0, 1):
        of_class = np.stack([shown[source.train.labels == c, frame].mean(0, dtype=np.float64) for c in range(8)])
        chance = shown[:, frame].std(0, dtype=np.float64) / 200**0.5
        assert np.abs((of_class - of_class.mean(0)) / chance).max() < 5
    steps = {"right": (2, 1), "left": (2, -1), "down": (1, 1), "up": (1, -1)}
    for name, (axis, way) in steps.items():
        some = shown[source.train.labels == source.classes.index(name)].astype(np.float64)
        apart = [np.abs(np.roll(some[:, 0], way * n, axis) - some[:, 1]).mean() for n in (2, -2)]
        assert apart[0] < 0.9 * apart[1]
