"""What ``netspec tune`` measured: a table a model of device, kept beside the compiled kernels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError
from netspec.kernels.cache import cache_root
from netspec.machine.atomic_files import told, write_text
from netspec.machine.regular_files import read_regular
from netspec.program.choice import Measured

_MAX_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """The fastest variant for a question (see netspec.program.choice) and the milliseconds of each candidate."""

    variant: str
    milliseconds: Mapping[str, float]


def table_path(model: str) -> Path:
    """Where the table of a model of device lies."""
    return cache_root() / "tuned" / f"{re.sub(r'[^a-z0-9]+', '-', model.lower()).strip('-')}.json"


def measured(models: Mapping[str, str]) -> dict[str, Measured]:
    """The answers for each device, whose model ``models`` gives; raises NetspecError for a table that is damaged."""
    tables = {model: read(model) for model in set(models.values())}
    return {device: {key: one.variant for key, one in tables[model].items()} for device, model in models.items()}


def read(model: str) -> dict[str, Answer]:
    """All answers for a model of device; none where nothing was measured."""
    path = table_path(model)
    if not os.path.lexists(path):
        return {}
    try:
        table = json.loads(read_regular(path, _MAX_BYTES))
        return {key: Answer(one["variant"], one["milliseconds"]) for key, one in table["answers"].items()}
    except NetspecError as error:
        raise NetspecError(f"{error}; remove it, and run netspec tune again") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NetspecError(f"{path} cannot be read ({error}); remove it, and run netspec tune again") from error


def keep(model: str, answers: Mapping[str, Answer]) -> Path:
    """Lay answers over those there are; returns the table's path. Raises NetspecError where it cannot be written."""
    path = table_path(model)
    table: dict[str, Any] = {"device": model}
    table["answers"] = {key: asdict(one) for key, one in sorted({**read(model), **answers}.items())}
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(table, indent=1) + "\n")
    return path


def forget(models: Iterable[str]) -> list[Path]:
    """Remove the tables of these models; returns what was there."""
    paths = [path for model in dict.fromkeys(models) if (path := table_path(model)).exists()]
    for path in paths:
        with told(path):
            path.unlink()
    return paths
