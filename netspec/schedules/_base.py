"""What a learning-rate schedule is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from netspec.contract.attrs import Attr, filled

Attrs = Mapping[str, Attr]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training run has come.

    ``iteration`` and ``epoch`` are those done so far, ``total_iterations`` those of the whole run;
    ``validation_errors`` holds the top-1 error of each validation so far, one an epoch, oldest first.
    """

    iteration: int
    epoch: int
    iterations_per_epoch: int
    total_iterations: int
    validation_errors: tuple[float, ...] = ()

    @property
    def share(self) -> float:
        """The share of the run that is done, from 0 to 1."""
        return min(self.iteration / max(self.total_iterations, 1), 1.0)


Factors = tuple[tuple[str, float], ...]
"""Patterns of layers or parameters (netspec.spec.patterns) with factors on their rate; of several the last counts."""


class Schedule(ABC):
    """A pure function from progress to a multiplier of the base learning rate.

    It keeps no state of its own, so a resumed run goes on exactly where it stood. ``needs_validation`` says that it
    reads ``Progress.validation_errors``, and so cannot run without validation data. One that treats layers apart says
    which (``patterns``) and how (``factors``).
    """

    attrs: ClassVar[Attrs] = {}
    needs_validation: ClassVar[bool] = False
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """Settings that the contract suite tries."""

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self.settings = filled(self.attrs, {name: value for name, value in attrs.items() if name != "type"})

    @abstractmethod
    def rate(self, progress: Progress) -> float:
        """The multiplier for the next iteration."""

    @property
    def warms_up(self) -> bool:
        """Whether it raises the rate at the beginning of a run."""
        return False

    def factors(self, progress: Progress) -> Factors:
        """Further factors for the next iteration; with 0 a parameter is frozen."""
        return ()

    def tint(self, epoch: int) -> float:
        """What is left in an epoch, counted from 0, of what alters colours on the device: see Pipeline."""
        return 1.0

    def patterns(self) -> Iterator[tuple[str, str]]:
        """Each pattern that ``factors`` may give, behind the path of the setting that it stands in."""
        yield from ()

    def faults(self) -> Iterator[tuple[str, str, str]]:
        """What the schemas of the settings cannot tell: the path of a setting, what is wrong, and a remedy."""
        yield from ()
