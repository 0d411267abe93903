"""Features of a set of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """A layer's activations: ``values`` float32 (N, ...), channels last, an entry an image that could be read.

    ``index`` int64 (N,) is the image's place in the set, ``labels`` int32 (N,) its place in ``classes``; ``layer`` says
    what was read.
    """

    values: NDArray[np.float32]
    index: NDArray[np.int64]
    names: tuple[str, ...]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    layer: str
