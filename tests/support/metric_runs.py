"""Run directories as a run leaves them, of metrics that are known, without any training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

from cli_tools import MINI

from netspec.spec import loads, resolved


def falling(speed: float) -> Callable[[int], float]:
    """A loss that falls the faster the higher ``speed`` is."""
    return lambda iteration: 2 * math.exp(-speed * iteration / 100) + 0.1


def write_run(
    folder: Path, rate: float, speed: float, evaluations: int = 4, per_epoch: int = 25, seed: int = 0
) -> Path:
    """A run of MINI at that learning rate, which drops by ten after its second epoch; top-1 error is loss / 3."""
    folder.mkdir(parents=True)
    changes = [f"train.solver.learning_rate={rate}", f"train.seed={seed}"]
    (folder / "spec.resolved.yaml").write_text(resolved(loads(MINI, "mini.yaml", changes)))
    (folder / "environment.json").write_text(json.dumps({"netspec": "0.1.0", "cores": speed, "command": [rate]}))
    total, loss_at = per_epoch * evaluations, falling(speed)
    lines = [dict(event="start", name="mini", iterations_per_epoch=per_epoch, total_iterations=total, iteration=0)]
    for iteration in range(1, total + 1):
        loss = loss_at(iteration)
        errors = {"top1": loss / 3, "top5": loss / 6}
        epoch = (iteration - 1) // per_epoch + 1
        step = dict(epoch=epoch, iteration=iteration, loss=loss, errors=errors, images_per_second=10.0, seconds=0.5)
        lines.append(dict(event="iteration", learning_rate=rate / (10 if epoch > 2 else 1), **step))
        if iteration % per_epoch == 0:
            lines.append(dict(event="evaluation", epoch=epoch, iteration=iteration, loss=loss, errors=errors))
    lines.append(dict(event="iteration", epoch=epoch, iteration=total, loss=None, errors={}, seconds=0.5))
    lines.append(dict(event="finish", status="finished", iteration=total, epoch=evaluations))
    text = "".join(json.dumps({"time": 1.7e9 + n, **line}) + "\n" for n, line in enumerate(lines))
    (folder / "metrics.jsonl").write_text(text + '{"event": "iterat')  # a line that was cut off
    return folder
