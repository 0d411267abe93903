"""Mixup: whose pixels and labels are mixed, in what shares, and that nothing but seed, epoch and image decides it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import files, folder_source, write_folder
from scipy.special import betainc

from netspec.contract.augmentation import Mix, below
from netspec.data.augment import augmentations
from netspec.data.augment.mixup import Mixup, symmetric_beta
from netspec.data.augment_chain import Chain
from netspec.data.dataset import Dataset, open_dataset
from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec
from netspec.data.shuffle import random_words

SHAPE, SEED, EPOCH = (24, 24, 3), 7, 2
OTHERS = {"mirror": {}, "translate": {"pixels": 2}, "crop": {}}


@pytest.fixture
def source(tmp_path: Path) -> Dataset:
    return folder_source(write_folder(tmp_path, files(3, 9, "train/") | files(3, 4, "val/")))


def rows(source: Dataset, augment: dict, workers: int = 0, start: int = 0) -> dict[int, tuple]:
    """Image, label, other label and share of each image of the epoch, by index; the last two None without mixing."""
    found = {}
    with Pipeline(source.train, DataSpec(augment=augment), "train", 9, SHAPE, SEED, workers) as pipeline:
        for batch in pipeline.epoch(EPOCH, start):
            for row, index in enumerate(batch.indices):
                mixed = [batch.mixed[name][row] for name in ("other", "share")] if batch.mixed else [None, None]
                found[int(index)] = (batch.image[row].copy(), int(batch.label[row]), *mixed)
            batch.release()
    return found


def partner_of(image: int, count: int) -> int:
    chain = Chain(augmentations(DataSpec(augment={"mixup": {}})), SEED)
    return chain.partner(chain.draw(EPOCH, image), count)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 4.0])
def test_two_words_give_a_number_of_the_beta_distribution(alpha: float) -> None:
    drawn = np.sort([symmetric_beta(alpha, u, v) for u, v in np.random.default_rng(1).random((20000, 2))])
    assert _distance(drawn, alpha) < 1.95  # exceeded once in a thousand times
    assert _distance(drawn, 1.3 * alpha) > 2.7  # once in a million times


def _distance(drawn: np.ndarray, alpha: float) -> float:
    """Kolmogorov and Smirnov's between sorted numbers and a symmetric beta distribution, times the root of how many.

    With scipy.special: importing scipy.stats takes longer than all tests of this file.
    """
    count, expected = len(drawn), betainc(alpha, alpha, drawn)
    steps = np.arange(count + 1) / count
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()) * count**0.5)


@pytest.mark.parametrize("alpha", [0.02, 0.1, 1.0, 50.0])
def test_mean_and_variance_are_those_of_the_beta_distribution(alpha: float) -> None:
    drawn = np.array([symmetric_beta(alpha, u, v) for u, v in np.random.default_rng(2).random((20000, 2))])
    variance = 1 / (4 * (2 * alpha + 1))
    assert drawn.mean() == pytest.approx(0.5, abs=5 * (variance / len(drawn)) ** 0.5)
    assert drawn.var() == pytest.approx(variance, rel=0.04)


@pytest.mark.parametrize("alpha", [1e-4, 0.2, 100])
def test_extreme_words_give_a_number_from_0_to_1(alpha: float) -> None:
    ends = (0.0, 2.0**-53, 0.25, 0.5, 0.75, 1 - 2.0**-53)
    found = [symmetric_beta(alpha, u, v) for u in ends for v in ends]
    assert all(0 <= one <= 1 for one in found)


def test_each_row_is_the_image_and_its_partner_of_the_same_epoch(source: Dataset) -> None:
    """Both as they are without mixing; the smaller share, rounded, is the partner's, and so is the other label."""
    plain, mixed = (rows(source, {**OTHERS, **more}) for more in ({}, {"mixup": {"alpha": 1.0}}))
    assert plain.keys() == mixed.keys() == set(range(27))
    for index, (image, label, other, share) in mixed.items():
        partner = plain[partner_of(index, 27)]
        own, added = plain[index][0].astype(np.float64), partner[0].astype(np.float64)
        assert 0 <= share <= 0.5 and (label, other) == (plain[index][1], partner[1])
        np.testing.assert_allclose(image, own + share * (added - own), atol=0.5001)
    shares = np.array([one[3] for one in mixed.values()])
    assert len(set(shares.tolist())) == 27 and any(one[1] != one[2] for one in mixed.values())


def test_a_little_alpha_leaves_most_images_as_they_are(source: Dataset) -> None:
    shares = {alpha: [one[3] for one in rows(source, {"mixup": {"alpha": alpha}}).values()] for alpha in (0.01, 1.0)}
    assert np.mean(shares[0.01]) < 0.05 < 0.15 < np.mean(shares[1.0]) < 0.35


@pytest.mark.parametrize(("workers", "start"), [(2, 0), (0, 1), (1, 2)])
def test_neither_workers_nor_a_resumption_change_a_bit(source: Dataset, workers: int, start: int) -> None:
    augment = {**OTHERS, "mixup": {}}
    whole, other = rows(source, augment), rows(source, augment, workers, start)
    assert len(other) == 27 - 9 * start
    for index, values in other.items():
        np.testing.assert_array_equal(values[0], whole[index][0])
        assert values[1:] == whole[index][1:]


def test_a_partner_that_cannot_be_read_has_no_share(tmp_path: Path) -> None:
    content = files(3, 9, "train/")
    gone = sorted(content)[4]
    source = folder_source(write_folder(tmp_path, {**content, gone: b"no image"} | files(3, 4, "val/")))
    plain, mixed = rows(source, {}), rows(source, {"mixup": {"alpha": 1.0}})
    alone = [index for index in mixed if partner_of(index, 27) == 4]
    assert alone and 4 not in mixed
    for index in alone:
        np.testing.assert_array_equal(mixed[index][0], plain[index][0])
        assert mixed[index][1:] == (plain[index][1], plain[index][1], 0)
    assert all(one[3] > 0 for index, one in mixed.items() if index not in alone)


def test_sequences_are_mixed_frame_by_frame() -> None:
    data = DataSpec({"type": "moving", "images": 24, "val_images": 6, "size": 24}, augment={"mixup": {"alpha": 1.0}})
    images = open_dataset(data, 0).train
    with Pipeline(images, data, "train", 6, (4, 24, 24, 1), SEED, 0) as pipeline:
        batch = next(pipeline.epoch(0))
        assert batch.image.shape == (6, 4, 24, 24, 1) and batch.mixed["share"].all()


def test_words_of_the_partner_and_of_the_share_are_apart() -> None:
    words = random_words(SEED, EPOCH, 5, Mixup.words)
    one: Mix = Mixup({})
    image, other = np.zeros((4, 4, 1), np.uint8), np.full((4, 4, 1), 255, np.uint8)
    assert one.partner(words, 1000) == below(words[0], 1000)
    assert one.mix([0, *words[1:]], image.copy(), other) == one.mix(words, image.copy(), other)
