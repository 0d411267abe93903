"""TensorBoard event files, written by tensorboardX: the extra ``netspec[tensorboard]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netspec.errors import NetspecError
from netspec.events import EvaluationDone, Event, IterationDone, Listener


class TensorBoard:
    """Writes losses, errors, rate and speed by iteration. Raises NetspecError where the library is not installed."""

    def __init__(self) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise NetspecError("--log tensorboard needs tensorboardX: pip install 'netspec[tensorboard]'") from None
        self._make: Any = SummaryWriter
        self._writer: Any = None

    def into(self, folder: Path, iteration: int) -> Listener:
        """The listener that writes into a run directory; what lies there beyond the iteration is void from now on."""
        self._writer = self._make(str(folder / "tensorboard"), purge_step=iteration + 1 if iteration else None)
        return self._hear

    def _hear(self, event: Event) -> None:
        match event:
            case IterationDone():
                rest = {"rate": event.learning_rate, "images_per_second": event.images_per_second}
                self._add("train", event, {**rest, "waited": event.waited})
            case EvaluationDone():
                self._add(event.split, event, {})

    def _add(self, group: str, event: IterationDone | EvaluationDone, rest: dict[str, float]) -> None:
        for name, value in {"loss": event.loss, **event.errors, **rest}.items():
            self._writer.add_scalar(f"{group}/{name}", value, event.iteration)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
