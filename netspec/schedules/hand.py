"""A schedule written step by step, as the runs of 2012 were edited by hand (layer-params-145.cfg)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import integer, mapping, number, records, texts
from netspec.schedules._base import Attrs, Factors, Progress, Schedule

_EPOCH = integer("Number of epochs that are done when the step takes effect.", minimum=0)
_RATE = number("Factor on the learning rate.", minimum=0)
_LAYERS = mapping(
    number(minimum=0),
    "Further factors on the rate of layers, or of parameters such as conv1.weight; 0 freezes.",
)
_NOISE = number("What is left of the colour noise of data.augment, from 0 to 1.", minimum=0, maximum=1)
_FREEZE = texts("Layers or parameters that stay as they are.")


class Hand(Schedule):
    """rate = that of the last step whose epoch is done, 1 before the first

    A step changes what it names and leaves the rest as it was: ``rate`` for the whole network, ``layers`` for some of
    it, as further factors; ``freeze: [conv1]`` is ``layers: {conv1: 0}``; ``colour_noise: 0`` for images without it.
    """

    attrs: ClassVar[Attrs] = {
        "steps": records(
            {"epoch": _EPOCH, "rate": _RATE, "layers": _LAYERS, "freeze": _FREEZE, "colour_noise": _NOISE},
            "Steps in the order of their epochs, each with what it changes.",
            required=("epoch",),
        ),
    }
    examples: ClassVar[Sequence[Mapping[str, Any]]] = (
        {"steps": [{"epoch": 1, "rate": 0.1}, {"epoch": 2, "layers": {"conv*": 0.5}, "freeze": ["fc"]}]},
        {"steps": [{"epoch": 0, "colour_noise": 0.5}]},
    )

    def rate(self, progress: Progress) -> float:
        """The multiplier of the last step that sets one."""
        return self._last("rate", progress.epoch)

    def factors(self, progress: Progress) -> Factors:
        """What all steps so far say, in their order."""
        return tuple(factor for step in self._done(progress.epoch) for factor in _factors(step))

    def tint(self, epoch: int) -> float:
        """The ``colour_noise`` of the last step that sets one."""
        return self._last("colour_noise", epoch)

    def patterns(self) -> Iterator[tuple[str, str]]:
        """Those of all steps."""
        for place, step in enumerate(self.settings["steps"]):
            yield from ((f"steps.{place}.layers.{pattern}", pattern) for pattern in step.get("layers", {}))
            yield from ((f"steps.{place}.freeze", pattern) for pattern in step.get("freeze", ()))

    def faults(self) -> Iterator[tuple[str, str, str]]:
        """Epochs that do not ascend, steps that change nothing."""
        before = -1
        for place, step in enumerate(self.settings["steps"]):
            if step["epoch"] <= before:
                message = f"epoch {step['epoch']} comes after epoch {before}"
                yield f"steps.{place}.epoch", message, "steps stand in the order of their epochs, one for each"
            if step.keys() <= {"epoch"}:
                remedy = "give it a 'rate', 'layers', 'freeze' or 'colour_noise'"
                yield f"steps.{place}", "a step that changes nothing", remedy
            before = max(before, step["epoch"])

    def _last(self, key: str, epoch: int) -> float:
        return next((float(step[key]) for step in reversed(self._done(epoch)) if key in step), 1.0)

    def _done(self, epoch: int) -> list[Mapping[str, Any]]:
        return [step for step in self.settings["steps"] if step["epoch"] <= epoch]


def _factors(step: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    yield from step.get("layers", {}).items()
    yield from ((pattern, 0.0) for pattern in step.get("freeze", ()))
