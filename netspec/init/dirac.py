"""The identity as a convolution (Zagoruyko and Komodakis 2017; torch.nn.init.dirac_)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import number
from netspec.init._base import Attrs, Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Dirac(Initialiser):
    """w[centre, c, f] = 1 for filter f = c of each group, the rest of these filters 0; others ~ N(0, gain^2 / inputs)

    The last two axes of a weight are channels and filters; those before them are the window, whose middle is the
    centre. A dense layer begins as the identity in the same way.
    """

    attrs: ClassVar[Attrs] = {"gain": number("Spread of the filters beyond the channels.", default=0.0, minimum=0)}
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({}, {"gain": 1.0})
    whole: ClassVar[bool] = True

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> NDArray[np.float32]:
        """Draw all, then put the identity in its place."""
        import numpy as np

        values = random.standard_normal(shape, dtype=np.float32)
        values *= np.float32(self.settings["gain"] / math.sqrt(fan.inputs))
        *window, channels, filters = (1, *shape)
        group, every = max(fan.outputs // math.prod(window), 1), np.arange(filters)
        same = every[every % group < channels]
        values[..., same] = 0
        middle = values[tuple(length // 2 for length in window[1:])].reshape(channels, filters)
        middle[same % group, same] = 1
        return values
