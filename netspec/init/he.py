"""Initialisation for rectified units (He et al. 2015, equation 10)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netspec.init._base import Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class He(Initialiser):
    """w ~ N(0, 2 / inputs of one unit)"""

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> NDArray[np.float32]:
        """Draw in float32."""
        import numpy as np

        values = random.standard_normal(shape, dtype=np.float32)
        values *= np.float32(math.sqrt(2.0 / fan.inputs))
        return values
