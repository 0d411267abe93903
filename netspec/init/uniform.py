"""Uniform distribution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from netspec.contract.attrs import number
from netspec.init._base import Attrs, Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Uniform(Initialiser):
    """w ~ U[low, high)"""

    attrs: ClassVar[Attrs] = {
        "low": number("Lower end.", default=-0.05),
        "high": number("Upper end.", default=0.05),
    }

    def faults(self) -> Iterator[tuple[str, str, str]]:
        """Ends in the wrong order."""
        low, high = self.settings["low"], self.settings["high"]
        if low > high:
            yield "high", f"must be at least low, {low:g}, got {high:g}", f"low: {high:g}, high: {low:g}"

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> NDArray[np.float32]:
        """Draw in float32."""
        import numpy as np

        low, high = self.settings["low"], self.settings["high"]
        values = random.random(shape, dtype=np.float32)
        values *= np.float32(high - low)
        values += np.float32(low)
        return values
