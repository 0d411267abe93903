"""Normalised initialisation (Glorot and Bengio 2010, equation 16)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netspec.init._base import Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Xavier(Initialiser):
    """w ~ U[-a, a), a = sqrt(6 / (inputs + outputs)) of one unit's fan"""

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> NDArray[np.float32]:
        """Draw in float32."""
        import numpy as np

        bound = np.float32(math.sqrt(6.0 / (fan.inputs + fan.outputs)))
        values = random.random(shape, dtype=np.float32)
        values *= 2 * bound
        values -= bound
        return values
