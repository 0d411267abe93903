"""One value everywhere (AlexNet, section 5: biases 1 in some layers, 0 in the others)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from netspec.contract.attrs import number
from netspec.init._base import Attrs, Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Constant(Initialiser):
    """w = value"""

    attrs: ClassVar[Attrs] = {"value": number("The value.", default=0.0)}

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> NDArray[np.float32]:
        """Fill; nothing is drawn."""
        import numpy as np

        return np.full(shape, self.settings["value"], np.float32)
