"""What a metric is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from netspec.contract.attrs import Attr, filled
from netspec.measures import SHARE, Measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Answers = NDArray[np.float32]
    """What the network gives for some images: probabilities (n, classes), or numbers (n, K)."""
    Truth = NDArray[Any]
    """What is so: labels int32 (n,), or targets float32 (n, K)."""
    Sums = NDArray[np.float64]
    """Sums over images, of one shape for all batches of a set."""
else:
    Answers = Truth = Sums = Any


class Metric:
    """A number that a network reaches over a whole set of images: sums over images, and what is made of them.

    ``answers`` says what it is made of: "classes", probabilities with labels; "numbers", with targets; "reports", what
    a cost layer sums up under the metric's name and nothing else. A cost layer's report of that name takes precedence:
    it is summed on the device, and ``of_report`` says what it comes to.

    ``title`` is its name for people (the name with spaces, unless given), ``unit`` what the number is of, "%" for a
    share in [0, 1] that is shown in percent, ``better`` whether less of it or more is.
    """

    answers: ClassVar[Literal["classes", "numbers", "reports"]]
    title: ClassVar[str] = ""
    unit: ClassVar[str] = SHARE
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    attrs: ClassVar[Mapping[str, Attr]] = {}
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """Settings that the contract suite tries."""

    type: ClassVar[str]

    def __init__(self, settings: Mapping[str, Any] = {}) -> None:
        self.settings = filled(self.attrs, {name: value for name, value in settings.items() if name != "type"})

    def sums(self, answers: Answers, truth: Truth) -> Sums:
        """Sums over some images, float64 and of a shape that does not depend on them; those of batches are added."""
        raise NotImplementedError

    def value(self, sums: Sums) -> float:
        """The number, from the sums over all images."""
        raise NotImplementedError

    @classmethod
    def of_report(cls, total: float, count: float) -> float:
        """The number, from a cost layer's sum over rows and their count: the mean."""
        return total / count

    @classmethod
    def tells(cls, classes: int) -> bool:
        """Whether it can be other than 0 for a network of so many classes: a top-5 error needs six."""
        return True

    @classmethod
    def measure(cls) -> Measure:
        """What the number is."""
        return Measure(cls.title or cls.type.replace("_", " "), cls.unit, cls.better)
