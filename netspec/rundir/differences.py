"""What differs between two specs as runs record them, and what a run changed of the spec that it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netspec.rundir.run_files import Damaged, read_json


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs between two canonical specs: path -> (old value, new value); None where there is none.

    Frames in pictures are no difference.
    """
    return changes(_by_name(old), _by_name(new))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The same of any two maps of maps."""
    before, after = dict(_flat(old)), dict(_flat(new))
    paths = sorted(before.keys() | after.keys())
    return {path: (before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)}


def _by_name(spec: Mapping[str, Any]) -> dict[str, Any]:
    layers = spec["layers"]
    named = {layer["name"]: {key: one for key, one in layer.items() if key != "within"} for layer in layers}
    return {**spec, "layers": {**named, "(order)": [layer["name"] for layer in layers]}}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield path, value
        return
    for key, item in value.items():
        yield from _flat(item, f"{path}.{key}" if path else str(key))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked for: its seed, and the values that the command line changed, by path.

    ``faults`` says, in a line each, why that is not known.
    """

    seed: int | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def read_asked(path: Path, later: Mapping[str, Any] | None = None) -> Asked:
    """What the record of a run's start says of that, its start.json; nothing that lies there raises.

    ``later`` are values of the spec that resumptions changed, by path.
    """
    try:
        record = read_json(path)
    except FileNotFoundError:
        return Asked()
    except Damaged as error:
        return Asked(faults=(str(error),))
    try:
        found = differences(record["given"], record["spec"])
        before = dict(_flat(_by_name(record["given"])))
    except (AttributeError, KeyError, TypeError):  # it may hold anything
        return Asked(faults=(f"{path}: does not have the specs that a run records",))
    changed = {path: new for path, (_, new) in found.items()}
    for whole, value in (later or {}).items():
        changed = {path: old for path, old in changed.items() if not f"{path}.".startswith(f"{whole}.")}
        changed |= {path: new for path, new in _flat(value, whole) if new != before.get(path)}
    changed.pop("train.seed", None)
    seed = record.get("seed")
    return Asked(seed if type(seed) is int else None, changed)
