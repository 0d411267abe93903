"""Colour noise along the principal components of RGB (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import boolean, choice, number
from netspec.contract.augmentation import Tint, normals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WHITE = 255.0


class Colour(Tint):
    """To each pixel of an image [p1, p2, p3] [a1 m1, a2 m2, a3 m3]^T is added, a_i normal with deviation ``sigma``.

    The a_i are drawn once for an image in an epoch; p_i and l_i are the eigenvectors and eigenvalues of the covariance
    of RGB over the pixels of the training images.

    The paper says m_i = l_i. That depends on the unit of pixels: over ImageNet in 0 to 255, l_1 is 121.8^2 = 14,830, so
    that sigma 0.1 would move an image by 1,483 grey levels, with nothing left of it. In 0 to 1 it is 0.228, which moves
    it by 5.8 grey levels of 255. ``magnitude: eigenvalue`` is the paper's formula in that unit. The released source has
    m_i = sqrt(l_i), which is the same in any unit, 12.2 grey levels: ``magnitude: deviation``. It also divides the
    images, less their mean and with the noise, by 1 + sigma, so that their spread stays near that of test images:
    ``rescale``.
    """

    words: ClassVar[int] = 4
    attrs: ClassVar[dict[str, Any]] = {
        "sigma": number("Standard deviation of the factors.", default=0.1, minimum=0),
        "magnitude": choice("eigenvalue", "deviation", default="eigenvalue", description=(
            "What a factor of 1 adds along a component: its eigenvalue, of pixels in 0 to 1, or its deviation.")),
        "rescale": boolean("Divide training images by 1 + sigma.", default=False),
    }  # fmt: skip
    examples: ClassVar[Sequence[dict[str, Any]]] = ({}, {"magnitude": "deviation", "rescale": True}, {"sigma": 0.0})

    def numbers(self, words: Sequence[int], channels: int) -> Sequence[float]:
        """Standard normal numbers."""
        return normals(words)[:channels]

    def tint(self, numbers: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
        """The factors a_i, and the gain."""
        import numpy as np

        sigma = self.settings["sigma"] * strength
        gain = 1 / (1 + sigma) if self.settings["rescale"] else 1.0
        found = np.empty((len(numbers), 1 + numbers.shape[1]), np.float32)
        found[:, 0], found[:, 1:] = gain - 1, numbers * np.float32(sigma * gain)
        return found

    def components(self, eigenvalues: NDArray[np.float64], eigenvectors: NDArray[np.float64]) -> NDArray[np.float32]:
        """p_i m_i in column i."""
        import numpy as np

        by_deviation = self.settings["magnitude"] == "deviation"
        magnitudes = np.sqrt(eigenvalues) if by_deviation else eigenvalues / _WHITE
        return (eigenvectors * magnitudes).astype(np.float32)
