"""The contract suite of augmentations: named checks that each registered one gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netspec.check.compare import Failed, Skipped, same_bits
from netspec.check.declared import check_docs
from netspec.check.setting_schema import check_schema
from netspec.contract.augmentation import PLACE, Augmentation, Mix, Tint, View
from netspec.data.augment_chain import centred
from netspec.data.dataset import Dataset, open_dataset
from netspec.data.geometry import Geometry
from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec

SHAPE = (16, 12, 3)
DRAWS = 200
_GREY, _WHITE, _IMAGES = 100, 255, 7
_SIGMAS = 6.0
"""Standard errors by which a mean over draws may be off."""
_FRAMES = [
    Geometry(*SHAPE, 20).frame(30, 25),
    Geometry(*SHAPE).frame(16, 12),
    Geometry(*SHAPE, 32).frame(500, 40),
    Geometry(1, 1, 3).frame(1, 1),
    Geometry(16, 16, 1, 24).frame(24, 400),
]
_SOURCE = {"type": "generated", "classes": 3, "images": 24, "val_images": 6, "size": 22}


@dataclass(frozen=True)
class AugmentationSubject:
    """A registered augmentation and what its examples make of it."""

    name: str
    cls: type[Augmentation]

    @property
    def examples(self) -> Sequence[Augmentation]:
        """One for each of the examples."""
        return [self.cls(attrs) for attrs in self.cls.examples]

    def draws(self, count: int = DRAWS) -> Iterator[list[int]]:
        """As many random words as it declares, time and again; all zeros first and all ones."""
        yield [0] * self.cls.words
        yield [2**64 - 1] * self.cls.words
        yield from np.random.Philox(key=1).random_raw((count - 2) * self.cls.words).reshape(count - 2, -1).tolist()


def check_view(subject: AugmentationSubject) -> None:
    """What is shown lies in the picture, whatever is drawn, in pictures of any shape."""
    for one in _with(subject, "view"):
        for frame in _FRAMES:
            for words in subject.draws():
                view = one.view(words, frame.at(0, 0), frame)
                inside = view.top + view.height <= frame.height and view.left + view.width <= frame.width
                if min(view.top, view.left) < 0 or min(view.height, view.width) < 1 or not inside:
                    raise Failed(f"view() gives {view} in a picture of {frame.height} x {frame.width}")


def check_pixels(subject: AugmentationSubject) -> None:
    """Images of any size are altered in place; their shape and dtype stay."""
    for one in _with(subject, "pixels"):
        for shape in (SHAPE, (1, 1, 3), (5, 9, 1)):
            for words in subject.draws(20):
                image = _ramp(shape)
                one.pixels(words, image)
                if image.shape != shape or image.dtype != np.uint8:
                    raise Failed(f"pixels() made {image.dtype} {image.shape} of uint8 {shape}; alter pixels[...]")


def check_draws(subject: AugmentationSubject) -> None:
    """The words decide all: the same ones give the same result, and others another."""
    for first, second in zip(subject.examples, subject.examples, strict=True):
        found = [_outcome(first, words) for words in subject.draws()]
        if found != [_outcome(second, words) for words in subject.draws()]:
            raise Failed("the same words give another result: draw from 'words' alone")
    default = [_outcome(subject.examples[0], words) for words in subject.draws()]
    if subject.cls.words and len(set(default)) == 1:
        raise Failed(f"declares {subject.cls.words} words, and gives the same for all: nothing is drawn from them")


def check_mean(subject: AugmentationSubject) -> None:
    """The mean over all draws of an even picture is that picture, where ``keeps_mean`` says so."""
    kept = [one for one in subject.examples if one.keeps_mean]
    if not kept:
        raise Skipped("declares keeps_mean = False")
    for one in kept:
        means = []
        for words in subject.draws(1000):
            image = np.full(SHAPE, _GREY, np.uint8)
            one.pixels(words, image)
            means.append(image.mean() - _GREY)
        _check_zero("the mean of an even picture", np.array(means), one)


def check_place(subject: AugmentationSubject) -> None:
    """The numbers that place() gives a device lead to the same bytes as view() and pixels()."""
    for one in _with(subject, "place"):
        for geometry in (Geometry(*SHAPE, 20), Geometry(*SHAPE), Geometry(1, 1, 3)):
            frame = geometry.frame(*geometry.square)
            picture = _ramp((frame.height, frame.width, 3))
            words = np.array(list(subject.draws()), np.uint64)
            table = centred(np.zeros(len(words), np.int64), frame.spare)
            one.place(words, dict(zip(PLACE, table.T, strict=True)), frame.spare)
            for row, own in zip(table.tolist(), words.tolist(), strict=True):
                wanted = _shown(picture, one.view(own, frame.at(frame.spare[0] // 2, frame.spare[1] // 2), frame))
                one.pixels(own, wanted)
                same_bits("image", placed(picture, row, frame.crop), wanted, f"place() gives {row} for the words {own}")


def placed(picture: NDArray[np.uint8], row: Sequence[int], crop: tuple[int, int]) -> NDArray[np.uint8]:
    """What a device shows of a picture (H, W, C), uint8 (*crop, C), for a row of PLACE, worked out with a margin."""
    top, left, mirrored, down, right, edge = row[1:]
    part = _shown(picture, View(top, left, *crop, bool(mirrored)))
    margin = max(abs(down), abs(right))
    around = np.pad(part, ((margin, margin), (margin, margin), (0, 0)), "edge" if edge else "constant")
    return around[margin + down : margin + down + crop[0], margin + right : margin + right + crop[1]]


def _shown(picture: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    part = picture[view.top : view.top + view.height, view.left : view.left + view.width]
    return (part[:, ::-1] if view.mirrored else part).copy()


def check_tint(subject: AugmentationSubject) -> None:
    """What runs on the device has mean 0, is finite, of the right shape, and nothing where its strength is 0."""
    if not issubclass(subject.cls, Tint):
        raise Skipped("does not run on the device")
    for one in subject.examples:
        assert isinstance(one, Tint)
        for channels in (1, 3):
            drawn = [list(one.numbers(words, channels)) for words in subject.draws(1002)][2:]
            numbers = np.array(drawn, np.float32)
            _check_array("numbers()", numbers, (1000, channels))
            _check_array("tint()", one.tint(numbers, 1.0), (1000, 1 + channels))
            found = one.components(np.arange(channels, 0, -1.0), np.eye(channels))
            _check_array("components()", found, (channels, channels))
            for column in one.tint(numbers, 1.0)[:, 1:].T:
                _check_zero("a factor", column, one)
            if one.tint(numbers, 0.0).any():
                raise Failed("tint() with strength 0 is not 0 everywhere")


def check_mix(subject: AugmentationSubject) -> None:
    """The share of the label is that of the pixels, whatever they are; the partner is any image, each as likely."""
    if not issubclass(subject.cls, Mix):
        raise Skipped("does not mix images")
    for one in subject.examples:
        assert isinstance(one, Mix)
        for words in subject.draws():
            _check_share(one, words)
        partners = [one.partner(words, _IMAGES) for words in subject.draws(1002)]
        if not set(partners) <= set(range(_IMAGES)):
            raise Failed(f"partner() gives {min(partners)} to {max(partners)} of {_IMAGES} images, numbered from 0")
        _check_zero("the partner's number", np.array(partners[2:]) - (_IMAGES - 1) / 2, one)


def check_workers(subject: AugmentationSubject) -> None:
    """Any number of workers, and an epoch that is resumed, give the same bits."""
    source = open_dataset(DataSpec(_SOURCE), 0)
    for attrs in subject.cls.examples:
        data = DataSpec(_SOURCE, resize=20, augment={subject.name: subject.cls(attrs).settings})
        wanted = _batches(source, data, workers=0)
        for number, got in enumerate(_batches(source, data, workers=2)):
            check_same(got, wanted[number], "two workers give other bits than none")
        for number, got in enumerate(_batches(source, data, workers=0, start=2)):
            check_same(got, wanted[2 + number], "an epoch that is resumed gives other bits")


def check_evaluation(subject: AugmentationSubject) -> None:
    """Images that are evaluated are as they are without it."""
    source = open_dataset(DataSpec(_SOURCE), 0)
    assert source.val is not None
    found = []
    for augment in ({subject.name: subject.examples[0].settings}, {}):
        data = DataSpec(_SOURCE, resize=20, augment=augment)
        with Pipeline(source.val, data, "val", 6, SHAPE, 3, 0) as pipeline:
            batch = next(pipeline.epoch(0))
            found.append(batch.image.copy())
            if batch.mixed:
                raise Failed("labels of images that are evaluated are mixed")
    same_bits("image", found[0], found[1], "it alters images that are evaluated")


CHECKS: tuple[Callable[[Any], None], ...] = (
    check_docs,
    check_schema,
    check_view,
    check_pixels,
    check_draws,
    check_mean,
    check_place,
    check_tint,
    check_mix,
    check_workers,
    check_evaluation,
)
"""All checks, cheap ones first. Each returns, or raises Failed or Skipped with the reason."""


def _with(subject: AugmentationSubject, method: str) -> Sequence[Augmentation]:
    if getattr(subject.cls, method) is getattr(Augmentation, method):
        raise Skipped(f"does not override {method}()")
    return subject.examples


def _ramp(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return (np.arange(int(np.prod(shape))) * 7 % 251).astype(np.uint8).reshape(shape)


def _outcome(one: Augmentation, words: Sequence[int]) -> tuple[View, bytes, tuple[float, ...]]:
    """All that an augmentation makes of some words."""
    frame, image = _FRAMES[0], _ramp(SHAPE)
    view = one.view(words, frame.at(0, 0), frame)
    one.pixels(words, image)
    numbers = tuple(one.numbers(words, 3)) if isinstance(one, Tint) else ()
    if isinstance(one, Mix):
        numbers = one.partner(words, _IMAGES), one.mix(words, image, np.full_like(image, _GREY))
    return view, image.tobytes(), numbers


def _check_share(one: Mix, words: Sequence[int]) -> None:
    """Raise where the share is not what a white image adds to a black one, one picture or frames of a sequence."""
    shares = []
    for shape in (SHAPE, (2, *SHAPE)):
        image, grey = np.zeros(shape, np.uint8), np.full(shape, _GREY, np.uint8)
        shares += [one.mix(words, image, np.full_like(image, _WHITE)), one.mix(words, grey, grey.copy())]
        if abs(image.mean() / _WHITE - shares[0]) > 1 / _WHITE:
            raise Failed(f"mix() gives a share of {shares[0]:.4g}, and takes {image.mean() / _WHITE:.4g} of the pixels")
        if (grey != _GREY).any():
            raise Failed("mix() of two even pictures that are alike gives another one")
    if len(set(shares)) > 1 or not 0 <= shares[0] <= 1:
        raise Failed(f"mix() gives shares of {shares} with the same words: one from 0 to 1 for all pictures of a shape")


def _check_zero(what: str, values: NDArray[Any], one: Augmentation) -> None:
    allowed = _SIGMAS * float(values.std()) / len(values) ** 0.5 + 1e-6
    if abs(float(values.mean())) > allowed:
        hint = "declare keeps_mean = False, or correct it"
        raise Failed(f"{what} is moved by {values.mean():.3g} on average with {one.settings}; {hint}")


def _check_array(what: str, found: NDArray[Any], shape: tuple[int, ...]) -> None:
    if found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
        raise Failed(f"{what} gives {found.dtype} {found.shape}, not finite numbers in float32 {shape}")


def _batches(source: Dataset, data: DataSpec, workers: int, start: int = 0) -> list[dict[str, NDArray[Any]]]:
    """The arrays of an epoch's batches."""
    found: list[dict[str, NDArray[Any]]] = []
    with Pipeline(source.train, data, "train", 6, SHAPE, 3, workers) as pipeline:
        for batch in pipeline.epoch(1, start):
            mixed = {name: values.copy() for name, values in batch.mixed.items()}
            found.append({"image": batch.image.copy(), **batch.beside, **mixed})
            batch.release()
    return found


def check_same(got: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]], rule: str) -> None:
    """Raise Failed unless the arrays of a batch have the same bits; ``rule`` says what is broken then."""
    for name, values in wanted.items():
        same_bits(name, got[name], values, rule)
