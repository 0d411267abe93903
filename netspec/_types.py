"""Data that the public functions of netspec.api take and give back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from netspec._shown import Shown, html_of
from netspec.measures import Measures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

AnyPath: TypeAlias = "str | os.PathLike[str]"
AnyImage: TypeAlias = "str | os.PathLike[str] | Image | NDArray[np.uint8]"
Status = Literal["running", "finished", "interrupted", "failed", "killed"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. ``errors`` are the last validation errors, or the last batch's where there is no validation.

    ``exit_code`` is 0, 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP; ``checkpoint`` is the newest one.
    """

    folder: Path
    status: Status
    iteration: int
    epoch: int
    errors: Mapping[str, float]
    seconds: float
    checkpoint: Path | None = None
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """A run of a sweep: the network's name, the values that were varied (texts by path), the seed; then how it ended.

    ``errors`` and ``loss`` are those of its last evaluation; without validation images ``errors`` are the last batch's.
    ``message`` says why it failed, ``metrics`` what ``errors`` are.
    """

    name: str
    values: Mapping[str, str]
    seed: int
    status: Literal["planned"] | Status = "planned"
    folder: Path | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None
    measured: Literal["validation", "training"] = "validation"
    iteration: int = 0
    seconds: float = 0.0
    message: str = ""
    exit_code: int = 0
    metrics: Measures = field(default_factory=dict)

    @property
    def group(self) -> str:
        """What it has in common with the runs that differ from it by the seed alone."""
        return " ".join([self.name, *(f"{path}={value}" for path, value in self.values.items())])

    @property
    def label(self) -> str:
        """Its name among the runs of a sweep."""
        return f"{self.group}, seed {self.seed}"


class Prediction(NamedTuple):
    """What was seen in an image: (class, probability), best first; ``error`` says why there is nothing to be seen.

    ``numbers`` are the answer of a network that predicts numbers, and nothing else is there then. ``words`` are what
    people call these classes, such as "tench, Tinca tinca" for n01440764; empty where not known.
    """

    path: str
    top: tuple[tuple[str, float], ...]
    error: str | None = None
    words: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()

    def _repr_html_(self) -> str | None:  # a named tuple has no other base
        return html_of(self)


class Predictions(list[Prediction], Shown):
    """What was seen in several images."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was measured for a step on a model of device: the fastest variant of its kernels, and all their times.

    ``preferred`` is what is taken where nothing was measured. ``wrong`` says, of variants that were left out because
    they give other results than the plain kernels or do not run at all, what was found. ``unconfirmed`` ones seemed
    faster than ``variant`` and were not when both were timed in turn.
    """

    step: str
    device: str
    variant: str
    preferred: str
    milliseconds: Mapping[str, float]
    wrong: Mapping[str, str] = field(default_factory=dict)
    unconfirmed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """Where and how a network runs: devices (None: as many as the spec has), runner and plugin files."""

    devices: Sequence[str] | str | None = None
    runner: str = "local"
    plugins: Sequence[str | Path] = field(default_factory=tuple)

    @property
    def names(self) -> list[str] | None:
        """Device names; a string holds them with commas between."""
        if isinstance(self.devices, str):
            return [name.strip() for name in self.devices.split(",")]
        return list(self.devices) if self.devices else None
