"""What to type after a run: commands that work as they stand, since what they need has been looked for on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netspec.device.binding import ranked
from netspec.errors import NetspecError
from netspec.machine.names import argument
from netspec.planning.trainable import reads_one_image
from netspec.rundir.directory import CHECKPOINTS, START
from netspec.runners.training import checkpoint
from netspec.runners.training.request import Settled
from netspec.runners.training.saver import listed
from netspec.units import many


@dataclass(frozen=True, slots=True)
class Advice:
    """Commands for a run directory; ``devices`` as they were asked for, None where they were not.

    So many ``processes`` have trained it, and exchanged by ``engine``.
    """

    folder: Path
    settled: Settled
    devices: Sequence[str] | None
    has_validation: bool
    processes: int = 1
    engine: str = "mpi"

    @property
    def is_there(self) -> bool:
        """Whether the run can be resumed."""
        return (self.folder / START).is_file()

    def go_on(self) -> str:
        """How to go on after a failure, in a clause."""
        if not self.is_there:
            return f"its directory {argument(self.folder)} is gone"
        newest = newest_readable(self.folder)
        if newest is not None:
            return f"the last whole checkpoint is {newest.name}: go on from it with {self._resume()}"
        if listed(self.folder / CHECKPOINTS):
            return "none of its checkpoints can be read"
        return f"there is no checkpoint yet: {self._resume()} starts again"

    def commands(self, status: str, iteration: int, planned: int, out_of_patience: bool = False) -> dict[str, str]:
        """What to type next, and why; ``planned`` is the number of iterations in all epochs.

        ``out_of_patience``: early stopping ends the run, and would end it again.
        """
        saved = newest_readable(self.folder) is not None
        if not self.is_there or (not saved and listed(self.folder / CHECKPOINTS)):
            return {}
        if status == "failed" or not saved:
            return {self._resume(): "go on training"}
        where, on = argument(self.folder), {self._resume(): "go on training"}
        return {
            f"netspec eval {where}{self._options()}{'' if self.has_validation else ' --split train'}": self._errors(),
            **self._predict(where),
            **(self._longer(iteration, planned, out_of_patience) if status == "finished" else on),
        }

    def _predict(self, where: str) -> dict[str, str]:
        if not reads_one_image(self.settled.spec):
            return {}
        return {f"netspec predict {where}{self._options()} IMAGE...": "what it sees in your images"}

    def _longer(self, iteration: int, planned: int, out_of_patience: bool) -> dict[str, str]:
        """How a finished run goes on: for twice what it was told to do, or to the end of its epochs."""
        again = " --set train.early_stopping=null" if out_of_patience else ""
        train, cut_short = self.settled.spec.train, self.settled.is_cut_short
        limited = train.iterations is not None and train.iterations <= iteration
        twice = f" --iterations {2 * iteration}"
        more = f" --epochs {2 * train.epochs}" if planned <= iteration else ""
        if limited and cut_short and not more:
            return {
                self._resume() + again: f"go on to the end of its {many(train.epochs, 'epoch')}",
                self._resume() + twice + again: "go on for as many iterations again",
            }
        return {self._resume() + more + (twice if limited and not cut_short else "") + again: "go on training"}

    def _resume(self) -> str:
        several = f" --processes {self.processes}" if self.processes > 1 else ""
        several += f" --engine {self.engine}" if self.engine != "mpi" else ""
        devices = f" --devices {','.join(self.devices)}" if self.devices else ""
        return f"netspec run --resume {argument(self.folder)}{several}{devices}"

    def _options(self) -> str:
        """What the run does not know by itself, for commands of one process: devices without ranks."""
        return f" --devices {','.join(ranked(self.devices)[0])}" if self.devices else ""

    def _errors(self) -> str:
        views = self.settled.spec.data.views
        if not self.has_validation:
            return "its errors over the training images"
        return "its errors once more" if views == 1 else f"its errors over {views} views of each image"


def newest_readable(folder: Path) -> Path | None:
    """The newest checkpoint of a run directory whose record can be read; None where there is none."""
    for path in listed(folder / CHECKPOINTS):
        try:
            checkpoint.read_record(path)
        except NetspecError:
            continue
        return path
    return None
