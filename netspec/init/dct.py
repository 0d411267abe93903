"""The cosine transform of windows, which decorrelates natural images (Ahmed, Natarajan and Rao 1974)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.init._base import Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Dct(Initialiser):
    """w[.., f] = the f-th function of the orthonormal DCT-II over window and channels, low frequencies first

    Of N values in a window the filters from N on are the first ones with the other sign, those from 2 N on the first
    ones again. Over red, green and blue the three functions are brightness, red against blue, and green against
    both, close to the principal components of photographs, so that a first layer of them and a batch normalisation
    whiten patches without having seen the data.
    """

    whole: ClassVar[bool] = True

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> NDArray[np.float32]:
        """Nothing is drawn."""
        import numpy as np

        *window, filters = (1, *shape)
        basis: NDArray[Any] = np.ones((1, 1))
        for length in window:
            basis = np.kron(basis, _cosines(length))
        order = np.argsort(np.indices(window).reshape(len(window), -1).sum(axis=0), kind="stable")
        chosen = np.arange(filters)
        values = basis[order][chosen % len(order)].T * (1 - 2 * (chosen // len(order) % 2))
        return values.reshape(shape).astype(np.float32)


def _cosines(length: int) -> NDArray[np.float64]:
    """Rows: the functions of the DCT-II of that length, each of norm 1."""
    import numpy as np

    angle = math.pi / length * np.outer(np.arange(length), np.arange(length) + 0.5)
    scale = np.sqrt(np.where(np.arange(length) == 0, 1.0, 2.0) / length)
    return scale[:, None] * np.cos(angle)
