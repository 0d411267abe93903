"""Scores of colour and orientation on kernels whose answers are known, and the permutation test between devices."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from netspec.figures._kernel_scores import colour, orientation, permutation_test, untrained
from netspec.figures.filters import FilterPictures, mosaic, scored

SIZE = 11
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE] - SIZE // 2


def gabor(degrees: float, period: float = 5.0, phase: float = 0.5) -> np.ndarray:
    """A grey grating under a round window, (SIZE, SIZE, 3)."""
    along = COLUMNS * np.cos(np.radians(degrees)) + ROWS * np.sin(np.radians(degrees))
    window = np.exp(-(ROWS**2 + COLUMNS**2) / (2 * 3.0**2))
    return np.repeat((window * np.cos(2 * np.pi * along / period + phase))[:, :, None], 3, axis=2)


def blob(rgb: tuple[float, float, float], width: float = 2.5) -> np.ndarray:
    """A round spot of one colour."""
    return np.exp(-(ROWS**2 + COLUMNS**2) / (2 * width**2))[:, :, None] * np.array(rgb)


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_grey_gabors_have_no_colour_and_one_orientation(degrees):
    kernels = gabor(degrees)[None]
    assert colour(kernels)[0] == pytest.approx(0.0, abs=1e-12)
    assert orientation(kernels)[0] > 0.85


@pytest.mark.parametrize("rgb", [(1.0, -1.0, 0.0), (1.0, 1.0, -2.0), (-0.5, 1.0, -0.5)])
def test_opponent_colour_blobs_are_all_colour_and_round(rgb):
    kernels = blob(rgb)[None]
    assert colour(kernels)[0] == pytest.approx(1.0)
    assert orientation(kernels)[0] < 1e-9


def test_the_colour_of_one_pixel_is_that_of_its_angle_to_grey():
    red = np.zeros((1, 2, 2, 3))
    red[0, 0, 0] = (3.0, 0.0, 0.0)
    assert colour(red)[0] == pytest.approx(2 / 3)  # cos^2 of the angle between red and grey is 1/3
    assert colour(-7 * red)[0] == pytest.approx(2 / 3)


def test_an_edge_in_colour_is_oriented_where_luminance_is_flat():
    edge = np.sign(COLUMNS + 0.5)[:, :, None] * np.array([1.0, -1.0, 0.0])
    assert colour(edge[None])[0] == pytest.approx(1.0) and orientation(edge[None])[0] == pytest.approx(1.0)


def test_kernels_of_zeros_have_no_score_and_do_not_spoil_the_means():
    kernels = np.stack([gabor(0), np.zeros((SIZE, SIZE, 3))])
    assert np.isnan(colour(kernels)[1]) and np.isnan(orientation(kernels)[1])
    made = scored("run", "conv1", {"left": kernels.transpose(1, 2, 3, 0), "right": kernels.transpose(1, 2, 3, 0)})
    assert made.differences["orientation"].apart == 0.0 and made.specialised == ()


def test_random_kernels_have_two_thirds_of_colour():
    scores = untrained((11, 11, 3))
    assert scores["colour"] == pytest.approx(2 / 3, abs=0.005) and 0.05 < scores["orientation"] < 0.12
    assert list(untrained((5, 5, 1))) == ["orientation"]


def test_runs_of_different_kernels_and_devices_are_shown_together():
    made = FilterPictures({})
    grey = scored("grey", "conv1", {"main": np.random.default_rng(0).standard_normal((5, 5, 1, 20))})
    text = made.render((scored("both", "conv1", towers()), grey), "svg").decode()
    assert "orientation (dashed: random numbers)" in text and "colour (dashed" not in text
    assert ">both \N{MIDDLE DOT} right</text>" in text and ">grey \N{MIDDLE DOT} main</text>" in text


def test_the_permutation_test_agrees_with_all_deals():
    values = np.array([0.1, 0.2, 0.35, 0.3, 0.8, 0.95, 0.7])
    apart, p = permutation_test([values[:3], values[3:]])
    deals = [np.isin(range(7), some) for some in combinations(range(7), 3)]
    spreads = [abs(values[deal].mean() - values[~deal].mean()) for deal in deals]
    exact = np.mean([spread >= spreads[0] - 1e-12 for spread in spreads])
    assert apart == pytest.approx(spreads[0])
    assert p == pytest.approx(exact, abs=0.015)  # 10,000 deals: a standard error of 0.003


def test_p_values_of_devices_alike_are_uniform():
    random = np.random.default_rng(0)
    found = [permutation_test([random.random(12), random.random(12)])[1] for _ in range(60)]
    assert 0.35 < np.mean(found) < 0.65 and np.mean(np.array(found) <= 0.05) < 0.15


def towers(swap: bool = False):
    grey = np.stack([gabor(10 * n, phase=n) for n in range(16)], axis=-1)
    coloured = np.stack([blob((1.0, -1.0 + 0.1 * n, -0.1 * n)) for n in range(16)], axis=-1)
    return {"left": coloured if swap else grey, "right": grey if swap else coloured}


@pytest.mark.parametrize("swap", [False, True])
def test_a_grey_and_a_coloured_tower_are_specialised(swap):
    made = scored("run", "conv1", towers(swap))
    assert made.specialised == ("colour", "orientation")
    assert made.differences["colour"].p == pytest.approx(1e-4) and made.differences["colour"].apart > 0.9


def test_towers_dealt_at_random_are_not():
    both = np.concatenate(list(towers().values()), axis=-1)
    dealt = np.random.default_rng(1).permutation(32)
    made = scored("run", "conv1", {"left": both[..., dealt[:16]], "right": both[..., dealt[16:]]})
    assert made.specialised == ()


def test_one_device_and_grey_images_have_fewer_scores():
    alone = scored("run", "conv1", {"left": towers()["left"]})
    assert alone.differences == {} and alone.sides[0].colour is not None
    grey = scored("run", "conv1", {name: part[:, :, :1] for name, part in towers().items()})
    assert list(grey.differences) == ["orientation"] and grey.sides[0].colour is None


def test_a_mosaic_shows_zero_as_mid_grey_and_each_kernel_in_full_contrast():
    kernels = np.zeros((17, 3, 3, 3))
    kernels[1, 0, 0] = (0.5, -0.5, 0.0)
    kernels[16, 2, 2] = (-4.0, 2.0, 0.0)
    page = mosaic(kernels)
    assert page.shape == (2 * 4 - 1, 16 * 4 - 1, 3)
    assert page[0, 0].tolist() == [0.5] * 3 and page[3].min() == page[:, 3].min() == 1.0  # lines between them
    assert page[0, 4].tolist() == [1.0, 0.0, 0.5] and page[6, 2].tolist() == [0.0, 0.75, 0.5]
    assert page[4:, 4:].min() == 1.0  # places without a kernel
    assert mosaic(kernels, largest=4.0)[0, 4].tolist() == [0.5625, 0.4375, 0.5]
