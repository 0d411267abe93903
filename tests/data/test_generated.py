"""The pictures that the program draws."""

from __future__ import annotations

import numpy as np

from netspec.data.dataset import open_dataset
from netspec.data.source import Split
from netspec.spec.types import DataSpec


def test_generated_pictures_are_what_the_spec_asks_for():
    spec = DataSpec({"type": "generated", "classes": 10, "images": 25, "val_images": 5, "size": 20})
    source, other = open_dataset(spec, 3), open_dataset(spec, 4)
    assert source.classes == tuple(sorted(source.classes))
    assert (len(source.train), len(source.val or ()), len(source.classes)) == (25, 5, 10)
    assert source.train.read(3).size == (20, 20)
    assert source.train.at_size(50).read(3).size == (20, 20)
    assert source.train.read(3).tobytes() == open_dataset(spec, 3).train.read(3).tobytes()
    assert source.train.read(3).tobytes() != other.train.read(3).tobytes()
    assert source.val is not None
    assert source.train.read(3).tobytes() != source.val.read(3).tobytes()
    assert open_dataset(DataSpec(), 0).train.at_size(50).read(3).size == (50, 50)



def test_the_thousand_classes_differ_and_few_differ_in_everything():
    from netspec.data.generated.picture_classes import picture_classes

    every = picture_classes(1000)
    assert len({kind[1:] for kind in every}) == len({kind.name for kind in every}) == 1000
    for part in ("shape", "colour", "texture"):
        assert len({getattr(kind, part) for kind in picture_classes(10)}) == 10



def test_generated_classes_are_learnable_from_few_pictures():
    """Nearest neighbours on 8 x 8 pixels, a far weaker learner than a convolutional net, are right mostly."""
    spec = DataSpec({"type": "generated", "classes": 10, "images": 1000, "val_images": 200, "size": 32})
    source = open_dataset(spec, 0)
    assert source.val is not None

    def features(split: Split) -> np.ndarray:
        return np.stack([np.asarray(split.read(i).resize((6, 6)), np.float64).ravel() for i in range(len(split))])

    known, asked = features(source.train), features(source.val)
    distance = (asked**2).sum(1)[:, None] - 2 * asked @ known.T + (known**2).sum(1)
    right = source.train.labels[distance.argmin(1)] == source.val.labels
    assert right.mean() > 0.7

