"""What a run measured, as columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netspec.rundir.metrics import Iterations, read_metrics

Columns = Mapping[str, NDArray[Any]]
_EVALUATED = ("loss", "images", "seconds")


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """What a run measured: NumPy arrays by column, all of one length, as ``pandas.DataFrame`` takes them.

    ``training`` has an entry an iteration: ``iteration`` (int64, from 1), ``epoch`` (epochs done after it, with a
    fraction), ``loss``, ``learning_rate``, ``seconds``, ``images_per_second``, and the batch's errors by name, such as
    ``top1``. ``validation`` has one an evaluation: ``iteration``, ``epoch``, ``loss``, ``images``, ``seconds``, errors
    by name. All but ``iteration`` are float64, nan where the run has written none. ``faults`` are lines on what could
    not be read of the file.
    """

    training: Columns
    validation: Columns
    faults: tuple[str, ...] = ()


def read_history_of(folder: Path) -> History:
    """All iterations and evaluations in a run's metrics; columns of no length where there are none."""
    metrics = read_metrics(folder, whole=True)
    per_epoch = metrics.iterations_per_epoch
    validation = [line for line in metrics.evaluations if line.get("split", "val") == "val"]
    return History(_training(metrics.iterations, per_epoch), _validation(validation, per_epoch), metrics.faults)


def _training(found: Iterations, per_epoch: int) -> Columns:
    numbers = {name: np.array(column) for name, column in (*found.numbers(), *found.errors.items())}
    return {**_places(found.iteration, per_epoch), **numbers}


def _validation(lines: Sequence[Mapping[str, Any]], per_epoch: int) -> Columns:
    errors = [line.get("errors") or {} for line in lines]
    columns = {name: [line.get(name) for line in lines] for name in _EVALUATED}
    columns |= {name: [one.get(name) for one in errors] for name in dict.fromkeys(key for one in errors for key in one)}
    numbers = {name: np.array(column, np.float64) for name, column in columns.items()}  # None becomes nan
    return {**_places([line["iteration"] for line in lines], per_epoch), **numbers}


def _places(iterations: Sequence[int], per_epoch: int) -> dict[str, NDArray[Any]]:
    places = np.array(iterations, np.int64)
    return {"iteration": places, "epoch": places / per_epoch}
