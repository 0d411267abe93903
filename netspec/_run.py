"""A run as Python sees it: how it ended, what it measured, and the network that it trained."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from netspec._shown import Shown
from netspec._types import AnyImage, AnyPath, RunResult
from netspec.errors import NoSuchFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from netspec.rundir.history import History
    from netspec.runners.inference import Predictor


class Run(RunResult, Shown):
    """A run. Whatever takes the path of a run, such as ``netspec.evaluate``, takes a Run as well.

    ``folder`` is its directory; ``status`` finished or interrupted, of one that was opened also running, failed or
    killed; ``iteration`` and ``epoch`` count finished ones; ``errors`` are shares by name from the last validation, or
    from the last batch where there is no validation; ``seconds`` is how long it trained, ``checkpoint`` the newest file
    of one, ``exit_code`` 0, or as the command's after a signal.
    """

    @classmethod
    def of(cls, result: RunResult) -> Run:
        """What training gives back."""
        return cls(*(getattr(result, field.name) for field in fields(RunResult)))

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def history(self) -> History:
        """What it has measured until now, as NumPy arrays by column: ``history.training["loss"]``."""
        from netspec.rundir.history import read_history_of

        return read_history_of(self.folder)

    @cached_property
    def model(self) -> Predictor:
        """The network of its best checkpoint, see ``netspec.predictor``; opened once. Raises NetspecError."""
        from netspec.runners.inference import Predictor

        return Predictor(self.folder)

    def activations(
        self, images: NDArray[np.uint8] | AnyImage | Iterable[AnyImage], layer: str
    ) -> NDArray[np.float32]:
        """What a layer of ``model`` gives for images: ``run.activations(images, "conv3")``, see netspec.Predictor."""
        return self.model.activations(images, layer)


def open_run(path: AnyPath) -> Run:
    """A run that was trained before: its folder, or a folder of runs, of which the one that began last is taken.

    Raises NetspecError where there is none.
    """
    from netspec.rundir.directory import CHECKPOINTS, runs_at, summarise
    from netspec.rundir.metrics import read_metrics
    from netspec.runners.training.saver import listed

    found = runs_at(path)
    if not found:
        raise NoSuchFile(f"{path}: no such run (netspec runs lists them)")
    metrics = read_metrics(found[0])
    one = summarise(found[0], metrics)
    last = metrics.evaluations[-1].get("errors") if metrics.evaluations else None
    if last is None and metrics.iterations:
        last = {name: column[-1] for name, column in metrics.iterations.errors.items()}
    newest = next(iter(listed(one.folder / CHECKPOINTS)), None)
    return Run(one.folder, one.status, one.iteration, one.epoch, last or {}, one.seconds, newest)


def trust(run_or_checkpoint: AnyPath) -> list[Path]:
    """Let the plugins that a run or a checkpoint names be run from now on, as ``--trust`` does; read them first.

    They are remembered for this user by what they contain. Returns the files and folders. Raises NetspecError where one
    is no longer what the run was made with.
    """
    from netspec.rundir.directory import CHECKPOINTS, START
    from netspec.runners.recorded_plugins import run_of, trust_all
    from netspec.runners.training.checkpoint import record_of
    from netspec.runners.training.saver import listed

    path = Path(run_or_checkpoint)
    files = [*listed(path / CHECKPOINTS), *([path] if (path / START).is_file() else [])] if path.is_dir() else [path]
    if not files:
        raise NoSuchFile(f"{path}: no such run (netspec runs lists them)")
    return trust_all((plugin for file in files for plugin in record_of(file).plugins), run_of(path))
