"""Augmentations: the contract suite, what each of them does, and that the random numbers of one are no other's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, files, folder_source, picture, write_folder

from netspec.check import checked
from netspec.contract.augmentation import Frame, View, normals
from netspec.data.augment import augmentations, tinted
from netspec.data.augment_chain import Chain
from netspec.data.dataset import Dataset
from netspec.data.decode import show
from netspec.data.geometry import Geometry
from netspec.data.mean import image_constants
from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec
from netspec.data.shuffle import random_words
from netspec.errors import NetspecError
from netspec.registry import augmentation_types, load_plugin, plugin_code

SHAPE = (24, 24, 3)
COLOUR = {"colour": {"sigma": 0.1, "magnitude": "deviation", "rescale": True}}


@pytest.fixture
def source(tmp_path: Path) -> Dataset:
    return folder_source(write_folder(tmp_path, files(3, 9, "train/") | files(3, 4, "val/")))


def epoch(source: Dataset, data: DataSpec, workers: int = 0, number: int = 2) -> dict[str, np.ndarray]:
    """An epoch's images, and what belongs to them, stacked."""
    found: dict[str, list[np.ndarray]] = {}
    with Pipeline(source.train, data, "train", 9, SHAPE, 7, workers) as pipeline:
        for batch in pipeline.epoch(number):
            for name, values in {"image": batch.image, "index": batch.indices, **batch.beside}.items():
                found.setdefault(name, []).append(values.copy())
            batch.release()
    return {name: np.concatenate(values) for name, values in found.items()}


@pytest.mark.parametrize("name", sorted(augmentation_types()))
def test_the_contract_suite(name: str) -> None:
    results = list(checked(f"augmentations.{name}"))
    assert [(one.name, one.message) for one in results if one.status == "failed"] == []
    assert sum(one.status == "passed" for one in results) >= 5


PLUGIN = '''
from netspec.plugin import Augmentation, integer, register

@register("odd")
class Odd(Augmentation):
    """Adds a grey level."""
    words = 1
    attrs = {"most": integer("Most grey levels.", default=2, minimum=0)}

    def pixels(self, words, pixels):
        pixels += words[0] % (self.settings["most"] + 1)
'''
WRONG = {
    "docs": ('"""Adds a grey level."""', "", "class Odd has no docstring"),
    "schema": ("default=2", "default=-1", "the default -1 does not fit"),
    "pixels": (
        "pixels +=",
        "pixels.resize((*pixels.shape[:2], 1, 3), refcheck=False) #",
        "pixels() made uint8 (16, 12, 1, 3)",
    ),
    "draws": ("words[0] % (", "5 % (", "nothing is drawn from them"),
    "mean": ("Adds", "adds", "is moved by"),
    "view": (
        "def pixels",
        "def view(self, words, view, frame): return view._replace(height=99)\n    def pixels",
        "view() gives View",
    ),
}


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Loads the plugin with a change, until the test is over; gives its file."""

    def load(old: str = "", new: str = "") -> Path:
        assert old in PLUGIN
        file = tmp_path / "odd.py"
        file.write_text(PLUGIN.replace(old, new, 1) if old else PLUGIN)
        assert load_plugin(file) == ("augmentations.odd",)
        return file

    yield load
    for module in [name for name, one in plugin_code._loaded.items() if "augmentations.odd" in one.plugin.types]:
        plugin_code._discard(module)


@pytest.mark.parametrize("check", WRONG)
def test_the_contract_suite_finds_what_is_wrong(check: str, odd: Callable[[str, str], Path]) -> None:
    old, new, message = WRONG[check]
    odd(old, new)
    found = {one.name: one for one in checked("augmentations.odd")}
    assert found[check].status == "failed" and message in found[check].message


def test_turned_off_all_is_as_without_it(source: Dataset) -> None:
    plain = epoch(source, DataSpec(resize=32, mirror=True))
    assert set(plain) == {"image", "index"}
    for name in sorted(augmentation_types().keys() - {"mirror", "crop", "random_resized_crop"}):
        off = epoch(source, DataSpec(resize=32, mirror=True, augment={name: None}))
        np.testing.assert_array_equal(off["image"], plain["image"])


def test_without_any_the_centre_is_shown(source: Dataset) -> None:
    found = epoch(source, DataSpec(resize=32, augment={"crop": None}))
    with Pipeline(source.train, DataSpec(resize=32), "val", 27, SHAPE, 7, 0) as pipeline:
        centres = next(pipeline.epoch(0)).image
        np.testing.assert_array_equal(found["image"], centres[found["index"]])


def test_one_does_not_change_what_another_draws(source: Dataset) -> None:
    """So that a run without one of them differs from its twin in nothing else."""
    plain = epoch(source, DataSpec(resize=32, mirror=True))
    coloured = epoch(source, DataSpec(resize=32, mirror=True, augment=COLOUR))
    np.testing.assert_array_equal(coloured["image"], plain["image"])
    other = epoch(source, DataSpec(resize=32, augment={**COLOUR, "cutout": {"size": 4, "grey": 1}}))
    np.testing.assert_array_equal(coloured["tint"], other["tint"])
    changed = (epoch(source, DataSpec(resize=32))["image"] != other["image"]).any(axis=-1).sum(axis=(1, 2))
    assert (changed <= 16).all() and (changed >= 4).all()


DRAWN = [23902, 28003, 2010, 50024, 21732, 62400, 28123, 31124, 51366]


def test_the_draws_are_for_ever() -> None:
    """A change of these numbers breaks the resumption of old runs."""
    data = DataSpec(mirror=True, augment={**COLOUR, "translate": {"pixels": 4, "fill": "black"}})
    chain = Chain(augmentations(data), seed=5)
    crop, mirror, colour, translate = chain.draw(epoch=3, image=17)
    assert [*crop, *mirror] == random_words(5, 3, 17, 3)
    assert (len(colour), len(translate)) == (4, 2)
    assert [word >> 48 for word in (*crop, *mirror, *colour, *translate)] == DRAWN


def test_a_random_resized_crop_is_the_part_that_pillow_cuts() -> None:
    image, geometry = picture(3, 60, 90), Geometry(24, 24, 3, 40)
    frame, out = geometry.frame(60, 90), np.empty(SHAPE, np.uint8)
    assert frame == Frame(40, 60, (40, 40), (24, 24))
    one = augmentations(DataSpec(augment={"random_resized_crop": {}}))["random_resized_crop"]
    areas = []
    for index in range(200):
        words = random_words(0, 0, index, one.words)
        view = one.view(words, frame.at(0, 0, mirrored=True), frame)
        areas.append(view.height * view.width / (40 * 60))
        assert view.mirrored and 0.72 < view.width / view.height < 1.4
        if index < 3:
            show(encoded(image, "PNG"), geometry, lambda _, view=view: view, out)
            box = tuple(1.5 * edge for edge in (view.left, view.top, view.left + view.width, view.top + view.height))
            cut = image.resize((24, 24), 2, box).transpose(0)
            np.testing.assert_array_equal(out, np.asarray(cut))
    assert 0.07 < min(areas) < 0.15 and 0.8 < max(areas) <= 1 and 0.3 < np.mean(areas) < 0.55


def test_a_part_of_a_large_jpeg_is_not_decoded_too_small() -> None:
    """Only where twice the wanted size is left is a JPEG decoded at reduced scale, and a part is enlarged."""
    image, geometry = picture(5, 400, 400), Geometry(20, 20, 3)
    content, part, sharp = encoded(image, quality=95), View(2, 3, 5, 5), np.empty((20, 20, 3), np.uint8)
    show(content, geometry, lambda frame: part, sharp)
    exact = np.asarray(image.resize((20, 20), 2, (60, 40, 160, 140)))
    assert np.abs(sharp.astype(int) - exact).mean() < 2


def test_a_picture_is_moved_and_what_comes_into_view_is_black_or_its_edge() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + 1
    for fill, corner in (("black", 0), ("edge", 1)):
        one = augmentations(DataSpec(augment={"translate": {"pixels": 1, "fill": fill}}))["translate"]
        moved = image.copy()
        one.pixels([0, 2**64 - 1], moved)  # up by -1, left by 1
        np.testing.assert_array_equal(moved[1:, :-1], image[:-1, 1:])
        assert moved[0, 0, 0] == (corner and image[0, 1, 0]) and moved[2, 3, 0] == (corner and image[1, 3, 0])


def test_a_square_is_hidden_and_cut_off_at_the_edge() -> None:
    one = augmentations(DataSpec(augment={"cutout": {"size": 4, "grey": 9}}))["cutout"]
    for words, hidden in (([0, 0], 4), ([2**63, 2**63], 16), ([2**64 - 1, 0], 6)):
        image = np.zeros((10, 10, 3), np.uint8)
        one.pixels(words, image)
        assert (image == 9).all(axis=2).sum() == hidden and ((image == 0) | (image == 9)).all()


# Colour noise --------------------------------------------------------------------------------------------------------


def test_normal_numbers() -> None:
    drawn = np.array([normals(random_words(0, 0, index, 4)) for index in range(5000)])
    assert np.abs(drawn.mean(axis=0)).max() < 0.06 and np.abs(drawn.std(axis=0) - 1).max() < 0.04
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.06
    assert np.isfinite([normals([0, 0]), normals([2**64 - 1] * 2)]).all()


def colour(**settings: object) -> object:
    return augmentations(DataSpec(augment={"colour": settings}))["colour"]


def test_colour_noise_moves_pixels_by_so_many_grey_levels() -> None:
    """With the deviations of ImageNet's colours that cuda-convnet records."""
    deviations = np.array([121.7801, 37.0939, 19.7208])
    for settings, levels in (({"magnitude": "deviation"}, 12.18), ({"magnitude": "eigenvalue"}, 5.82)):
        one = colour(**settings)
        found = one.components(deviations**2, np.eye(3)) @ one.tint(np.eye(3, dtype=np.float32), 1.0)[0, 1:]
        assert found[0] == pytest.approx(levels, rel=1e-3) and not found[1:].any()


def test_the_source_divides_images_by_1_plus_sigma() -> None:
    one = colour(sigma=0.25, rescale=True)
    numbers = np.array([[1, -2, 3]], np.float32)
    np.testing.assert_allclose(one.tint(numbers, 1.0), [[-0.2, 0.2, -0.4, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(one.tint(numbers, 0.5), [[1 / 1.125 - 1, *(numbers[0] * 0.125 / 1.125)]], rtol=1e-6)
    image, mean = np.full((1, 2, 2, 3), 90, np.uint8), np.full((2, 2, 3), 40, np.float32)
    made = tinted(image, one.tint(numbers, 1.0), mean, np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(made[0, 1, 1], (50 + 0.25 * numbers[0]) / 1.25, rtol=1e-6)


def test_colour_noise_is_drawn_for_each_image_anew_in_each_epoch(source: Dataset) -> None:
    data = DataSpec(resize=32, augment=COLOUR)
    found = epoch(source, data)
    again, other = epoch(source, data, workers=2), epoch(source, data, number=3)
    np.testing.assert_array_equal(found["tint"], again["tint"])
    assert found["tint"].shape == (27, 4) and len(np.unique(found["tint"][:, 1])) == 27
    assert not np.isin(found["tint"][:, 1:], other["tint"][:, 1:]).any()


def test_a_schedule_may_weaken_it_by_epoch(source: Dataset) -> None:
    data = DataSpec(resize=32, augment=COLOUR)
    with Pipeline(source.train, data, "train", 9, SHAPE, 7, 0) as pipeline:
        pipeline.tint_strength = lambda epoch: 0.0 if epoch >= 2 else 1.0
        full, none = next(pipeline.epoch(1)).beside["tint"], next(pipeline.epoch(2)).beside["tint"]
    assert full.all() and not none.any()


def test_the_components_are_those_of_the_training_images(source: Dataset) -> None:
    data = DataSpec(resize=32, augment=COLOUR)
    found = image_constants(source.train, data, SHAPE, 0, 0)
    with Pipeline(source.train, DataSpec(resize=32), "val", 27, SHAPE, 0, 0) as pipeline:
        pixels = next(pipeline.epoch(0)).image.reshape(-1, 3).astype(np.float64)
    covariance = np.cov(pixels.T, bias=True)
    components = found["components"].astype(np.float64)
    np.testing.assert_allclose(components @ components.T, covariance, rtol=1e-5, atol=1e-3)
    lengths = np.linalg.norm(components, axis=0)
    assert (np.diff(lengths) < 0).all()
    np.testing.assert_array_equal(found["mean"], image_constants(source.train, data, SHAPE, 0, 0)["mean"])
    grey = image_constants(source.train, data, (24, 24, 1), 0, 0)
    assert grey["components"].shape == (1, 1) and grey["components"][0, 0] > 0


# Plugins -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("pixels +=", "raise OSError('no such thing') #", "OSError: no such thing"),
        ("def pixels", "def view(self, words, view, frame): 1 / 0\n    def pixels", "ZeroDivisionError"),
        ("def pixels", "def view(self, *_): return _[1]._replace(top=99)\n    def pixels", "does not lie in a picture"),
    ],
    ids=["pixels", "view", "outside"],
)
def test_what_a_plugin_raises_is_told_and_no_image_is_blamed(
    source: Dataset, odd: Callable[[str, str], Path], workers: int, old: str, new: str, reason: str
) -> None:
    odd(old, new)
    with pytest.raises(NetspecError, match=rf"augmentation Odd fails.*{reason}"):
        epoch(source, DataSpec(resize=32, augment={"odd": {"most": 2}}), workers)


def test_data_workers_run_the_plugin_that_was_loaded_whatever_its_file_holds_by_now(
    source: Dataset, odd: Callable[..., Path]
) -> None:
    file = odd()
    data = DataSpec(resize=32, augment={"odd": {"most": 200}})
    expected = epoch(source, data, 0)["image"]
    np.testing.assert_array_equal(epoch(source, data, 2)["image"], expected)
    file.write_text("raise SystemExit('this is not what was loaded')")
    np.testing.assert_array_equal(epoch(source, data, 1)["image"], expected)
