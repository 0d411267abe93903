"""Completion of ``--set PATH=VALUE``: the keys of the spec language, with the layers of the spec at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError

Below = Callable[[], Mapping[str, Any]]
"""What lies below a key: schemas of values by key, and what lies below others."""


def assignments(word: str, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """How a word goes on: keys with a dot or an equals sign behind them, or values.

    ``words`` are those of the line, of which one names the spec.
    """
    path, equals, _ = word.partition("=")
    *above, _ = path.split(".")
    keys: Mapping[str, Any] | None = _sections(words)
    for key in above:
        found = (keys or {}).get(key)
        keys = found() if callable(found) else None
    if equals:
        yield from ((f"{path}={value}", "") for value in _values((keys or {}).get(path.split(".")[-1])))
        return
    prefix = "".join(f"{key}." for key in above)
    for key, found in (keys or {}).items():
        about = "" if callable(found) else str(found.get("description", ""))
        yield f"{prefix}{key}{'.' if callable(found) else '='}", about


def _values(schema: Any) -> list[str]:
    if not isinstance(schema, Mapping):
        return []
    if schema.get("type") == "boolean":
        return ["true", "false"]
    return [str(value) for value in schema.get("enum", ())]


def _sections(words: Sequence[str]) -> Mapping[str, Any]:
    return {
        "train": _train,
        "data": _data,
        "layers": lambda: _layers(words),
        "defaults": lambda: {kind: _of_type(kind) for kind in dict.fromkeys(layers_at(words).values()) if _known(kind)},
    }


def _train() -> Mapping[str, Any]:
    from netspec.metrics import metric_types
    from netspec.schedules import schedule_types
    from netspec.solvers import solver_types
    from netspec.spec.train_section import METRICS, PARTS, SHORT, TRAIN

    parts: dict[str, Any] = {key: (lambda attrs=attrs: attrs) for key, attrs in PARTS.items()}
    solvers = solver_types()
    parts |= {"solver": lambda: _typed(solvers), SHORT: lambda: solvers[SHORT].attrs}
    metrics = {"description": METRICS, "enum": [f"[{name}]" for name in metric_types()]}
    return {**TRAIN, **parts, "schedule": lambda: _typed(schedule_types()), "metrics": metrics}


def _data() -> Mapping[str, Any]:
    from netspec.spec.sections import DATA

    return {**DATA, "source": _source, "augment": _augment}


def _source() -> Mapping[str, Any]:
    from netspec.data.known_sources import source_types

    return _typed(source_types())


def _augment() -> Mapping[str, Any]:
    from netspec.registry import augmentation_types

    return {name: (lambda cls=cls: cls.attrs) for name, cls in augmentation_types().items()}


def _typed(types: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys of every type of a map that has one."""
    return {"type": {"enum": list(types)}, **{key: attr for cls in types.values() for key, attr in cls.attrs.items()}}


def _of_type(kind: str) -> Below:
    from netspec.spec.layer_section import attributes_of

    return lambda: attributes_of(kind) if _known(kind) else {}


def _known(kind: str) -> bool:
    from netspec.registry import layer_types

    return kind in layer_types()


def _layers(words: Sequence[str]) -> Mapping[str, Any]:
    """The layers of the spec at hand, and its uses of blocks, which have the attributes of their blocks."""
    layers, uses = _listed(words)
    below = {use: (lambda attributes=attributes: attributes) for use, attributes in uses.items()}
    return {**{name: _of_type(kind) for name, kind in layers.items()}, **below}


def layers_at(words: Sequence[str]) -> dict[str, str]:
    """The layers of the first spec or run that a line names, with their types; none where there are none to read."""
    return _listed(words)[0]


def _listed(words: Sequence[str]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Those layers, and the uses of blocks with schemas of what they may say."""
    from netspec.spec.loading import layers_and_uses

    try:
        place = next(filter(None, map(_file_of, words[1:])), None)
        return layers_and_uses(place) if place is not None else ({}, {})
    except (NetspecError, OSError, ValueError):
        return {}, {}


def _file_of(word: str) -> Path | None:
    """The YAML file that a word names: a spec, or that of a run."""
    from netspec.rundir.directory import RESOLVED, runs_at
    from netspec.spec import files

    path = Path(word)
    if word in files.shipped() or (path.suffix in (".yaml", ".yml") and path.is_file()):
        return files.find(word)
    return runs_at(path)[0] / RESOLVED if path.is_dir() and runs_at(path) else None
