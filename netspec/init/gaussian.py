"""Normal distribution (AlexNet, section 5: mean 0, standard deviation 0.01)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netspec.contract.attrs import number
from netspec.init._base import Attrs, Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Gaussian(Initialiser):
    """w ~ N(mean, std^2)"""

    attrs: ClassVar[Attrs] = {
        "std": number("Standard deviation.", default=0.01, minimum=0),
        "mean": number("Mean.", default=0.0),
    }

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> NDArray[np.float32]:
        """Draw in float32."""
        import numpy as np

        values = random.standard_normal(shape, dtype=np.float32)
        values *= np.float32(self.settings["std"])
        values += np.float32(self.settings["mean"])
        return values
