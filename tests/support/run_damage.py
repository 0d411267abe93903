"""Damage to the files of a run directory: other kinds of file, other bytes, and other values under right checksums."""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from netspec.exchange import tensor_file
from netspec.rundir.run_files import opened

Damage = Callable[[Path, random.Random], None]


def _deep(levels: int) -> str:
    return "[" * levels + "]" * levels


VALUES = [
    *(None, True, False, -1, 0, 1, 7, 2**31, 2**53, 2**63, 10**400, 0.5, -0.5, 1e308, float("inf"), float("nan")),
    *("", "x", "\x1b[31m", "é" * 3000, "../..", "\ud800", [], {}, [[]], [1, "x", None], {"": {}}, {"name": 3}),
    json.loads(_deep(70)),
]
JUNK = [b"", b"\0" * 100, b"\xff\xfe{}", b"[]\n", b"7\n", b"null", b"{", _deep(100_000).encode(), b'{"a": ' * 50_000]


# The file as a whole ------------------------------------------------------------------------------------------------


def gone(path: Path, rng: random.Random) -> None:
    path.unlink()


def fifo(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def link_to_nowhere(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def link_to_itself(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link(path: Path, rng: random.Random) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def device(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def second_name(path: Path, rng: random.Random) -> None:
    os.link(path, path.with_name("elsewhere"))


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size or 1))


def enormous(path: Path, rng: random.Random) -> None:
    os.truncate(path, 2**rng.randrange(27, 43))


def junk(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.choice(JUNK))


def bytes_changed(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 4) if data else 0):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


WHOLE: list[Damage] = [
    *(gone, fifo, folder, link_to_nowhere, link_to_itself, link, device, second_name),
    *(cut, enormous, junk, bytes_changed),
]


# Values -------------------------------------------------------------------------------------------------------------


def edited(value: Any, rng: random.Random) -> Any:
    """A copy of JSON data with one part exchanged, lost, added or doubled."""
    value = json.loads(json.dumps(value))
    places = [((), value), *_parts(value)]
    parent, key = rng.choice(places[1:])[0] if len(places) > 1 else (None, None)
    match rng.randrange(4):
        case 0 if parent is not None and isinstance(parent, dict):
            del parent[key]
        case 1 if parent is not None and isinstance(parent, dict):
            parent[rng.choice(["x", "", "event", "layers", "format"])] = rng.choice(VALUES)
        case 2 if parent is not None and isinstance(parent, list):
            parent.insert(key, parent[key])
        case _ if parent is not None:
            parent[key] = rng.choice(VALUES)
    return value


def _parts(value: Any) -> list[tuple[tuple[Any, Any], Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in items:
        found += [((value, key), item), *_parts(item)]
    return found


def json_edited(path: Path, rng: random.Random) -> None:
    path.write_text(json.dumps(edited(json.loads(path.read_text()), rng)))


def line_edited(path: Path, rng: random.Random) -> None:
    """A line of JSON that is another one, no JSON at all, or very long."""
    lines = path.read_text().splitlines()
    number = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            lines[number] = lines[number][: rng.randrange(len(lines[number]))]
        case 1:
            lines[number] = rng.choice(["[]", "7", "null", "{}", '{"event": []}', "x" * 3_000_000, _deep(5000), ""])
        case _:
            lines[number] = json.dumps(edited(json.loads(lines[number]), rng))
    path.write_text("\n".join(lines) + "\n")


def yaml_edited(path: Path, rng: random.Random) -> None:
    """YAML that grows, nests or would run code."""
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(12))
    texts = [bomb, "a: &a [*a]\n", "a: !!python/object/apply:os.system [exit]\n", "{" * 5000, "- - - x\n"]
    texts += ["a: 1\na: 2\n", "layers: 3\n", "? [a]\n: b\n"]
    path.write_text(rng.choice(["", path.read_text()]) + rng.choice(texts))


def record_edited(path: Path, rng: random.Random) -> None:
    """A checkpoint of another record, under right sums."""
    header, arrays = read(path)
    write(path, json.dumps(edited(json.loads(header["netspec"]), rng)), arrays)


def tensors_edited(path: Path, rng: random.Random) -> None:
    """A checkpoint of other tensors, under right sums."""
    header, arrays = read(path)
    name = rng.choice(sorted(arrays))
    match rng.randrange(4):
        case 0:
            del arrays[name]
        case 1:
            arrays["conv9.weight"] = arrays[name]
        case 2:
            arrays[name] = arrays[name].astype(np.float64)
        case _:
            arrays[name] = arrays[name].reshape(-1)[1:]
    write(path, header["netspec"], arrays)


def header_edited(path: Path, rng: random.Random) -> None:
    """A safetensors header that says something else of types, shapes and places."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    text = json.dumps(edited(json.loads(data[8 : 8 + length]), rng)).encode()
    size = rng.choice([len(text)] * 4 + [0, 2**31, 2**63])
    path.write_bytes(size.to_bytes(8, "little") + text + data[8 + length :])


def read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray[Any, Any]]]:
    """What a checkpoint holds."""
    with opened(path) as file:
        header = tensor_file.read_header(path, file)
        return dict(header.metadata), tensor_file.read_arrays(path, file, header)


def write(path: Path, record: str, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """A checkpoint of a record and arrays, with the sums that belong to them."""
    kinds = {name: f"{name} {array.dtype} {array.shape}".encode() for name, array in arrays.items()}
    sums = {name: zlib.crc32(array.tobytes(), zlib.crc32(kinds[name])) for name, array in arrays.items()}
    listed = json.dumps({"": zlib.crc32(record.encode()), **sums})
    metadata = {"netspec": record, "crc32": listed, "seal": str(zlib.crc32((record + listed).encode()))}
    path.write_bytes(b"".join(tensor_file.pieces(metadata, arrays)))


VALUES_OF: dict[str, list[Damage]] = {
    ".json": [json_edited] * 4,
    ".jsonl": [line_edited] * 6,
    ".yaml": [yaml_edited] * 3,
    ".safetensors": [record_edited] * 8 + [tensors_edited] * 3 + [header_edited] * 4,
}


def damage(path: Path, rng: random.Random) -> str:
    """Do something to a file; what, for messages."""
    how = rng.choice(WHOLE + VALUES_OF.get(path.suffix, []))
    how(path, rng)
    return how.__name__
