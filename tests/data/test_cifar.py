"""CIFAR-10 and CIFAR-100 as they are given out: two versions, packed and not, are one set."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_samples import message
from PIL import Image

from netspec.data.dataset import Dataset, open_dataset
from netspec.data.layout import source_from_path
from netspec.data.settings import DataSpec
from netspec.data.source import Split
from netspec.prepare.encode import Recipe
from netspec.prepare.prepare import Options, prepare

TEN = "airplane automobile bird cat deer dog frog horse ship truck".split()
FINE, COARSE = [f"fine{i:02}" for i in range(100)], [f"coarse{i:02}" for i in range(20)]
EACH = 12


def records(seed: int, classes: int) -> tuple[np.ndarray, list[int]]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (EACH, 3072), dtype=np.uint8), random.integers(0, classes, EACH).tolist()


def old_pickle(content: dict[bytes, object]) -> bytes:
    """As Python 2 and its numpy wrote them: byte strings as keys, arrays by numpy.core.multiarray._reconstruct."""
    return pickle.dumps(content, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def ten_python() -> dict[str, bytes]:
    files = {"batches.meta": old_pickle({b"label_names": [name.encode() for name in TEN]}), "readme.html": b""}
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels, labels = records(seed, 10)
        files[name] = old_pickle({b"data": pixels, b"labels": labels, b"batch_label": b"a batch"})
    return {f"cifar-10-batches-py/{name}": content for name, content in files.items()}


def ten_binary() -> dict[str, bytes]:
    files = {"batches.meta.txt": "\n".join([*TEN, "", ""]).encode()}
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels, labels = records(seed, 10)
        rows = (struct.pack("B", n) + row.tobytes() for n, row in zip(labels, pixels, strict=True))
        files[f"{name}.bin"] = b"".join(rows)
    return {f"cifar-10-batches-bin/{name}": content for name, content in files.items()}


def hundred_python() -> dict[str, bytes]:
    meta = {b"fine_label_names": [n.encode() for n in FINE], b"coarse_label_names": [n.encode() for n in COARSE]}
    files = {"meta": old_pickle(meta)}
    for seed, name in enumerate(("train", "test")):
        pixels, labels = records(seed, 100)
        batch = {b"data": pixels, b"fine_labels": labels, b"coarse_labels": [label // 5 for label in labels]}
        files[name] = old_pickle(batch)
    return {f"cifar-100-python/{name}": content for name, content in files.items()}


def hundred_binary() -> dict[str, bytes]:
    files = {"fine_label_names.txt": "\n".join(FINE).encode(), "coarse_label_names.txt": "\n".join(COARSE).encode()}
    for seed, name in enumerate(("train", "test")):
        pixels, labels = records(seed, 100)
        rows = (struct.pack("BB", n // 5, n) + row.tobytes() for n, row in zip(labels, pixels, strict=True))
        files[f"{name}.bin"] = b"".join(rows)
    return {f"cifar-100-binary/{name}": content for name, content in files.items()}


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def packed(folder: Path, files: dict[str, bytes], name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / name, "w:gz") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return folder


def opened(path: Path, **attrs: object) -> Dataset:
    return open_dataset(DataSpec({**source_from_path(path), **attrs}), 0)


def content(split: Split | None) -> list[tuple[str, int, bytes]]:
    assert split is not None
    images = (split.read(i) for i in range(len(split)))
    return [
        (split.name(i), int(split.labels[i]), image.tobytes())
        for i, image in enumerate(images)
        if isinstance(image, Image.Image)
    ]


@pytest.mark.parametrize(
    ("python", "binary", "names"), [(ten_python, ten_binary, TEN), (hundred_python, hundred_binary, FINE)]
)
def test_versions_are_one_set(
    tmp_path: Path, python: Callable[[], dict[str, bytes]], binary: Callable[[], dict[str, bytes]], names: list[str]
) -> None:
    found = [
        opened(unpacked(tmp_path / "1", python())),
        opened(unpacked(tmp_path / "2", binary()) / next(iter(binary())).partition("/")[0]),
        opened(packed(tmp_path / "3", python(), "cifar-10-python.tar.gz")),
        opened(packed(tmp_path / "4", binary(), "cifar-100-binary.tar.gz") / "cifar-100-binary.tar.gz"),
    ]
    for each in found:
        assert each.classes == tuple(names) and each.type == "cifar"
        assert content(each.train) == content(found[0].train)
        assert content(each.val) == content(found[0].val)
    pixels, labels = records(0, len(names))
    shown = {name: (label, data) for name, label, data in content(found[0].train)}
    for i, label in enumerate(labels):
        expected = pixels[i].reshape(3, 32, 32).transpose(1, 2, 0).tobytes()
        assert shown[f"{names[label]}/{i:05}.png"] == (label, expected)


def test_coarse_classes(tmp_path: Path) -> None:
    found = opened(unpacked(tmp_path / "100", hundred_binary()), coarse=True)
    assert found.classes == tuple(COARSE)
    _, labels = records(0, 100)
    assert sorted(found.train.labels.tolist()) == sorted(label // 5 for label in labels)
    ten = unpacked(tmp_path / "10", ten_python())
    assert "CIFAR-10 has no coarse classes" in message(lambda: opened(ten, coarse=True))


def test_prepared_without_loss(tmp_path: Path) -> None:
    source = packed(tmp_path / "in", ten_python(), "cifar-10-python.tar.gz")
    found = opened(source)
    prepare(found, source_from_path(source), tmp_path / "out", Options(Recipe(32, 0), 16, 0))
    again = opened(tmp_path / "out")
    assert again.classes == found.classes
    for i, (name, label, data) in enumerate(content(found.train)):
        encoded = again.train.read(i)
        assert isinstance(encoded, bytes)
        assert (again.train.name(i), again.train.labels[i]) == (name, label)
        assert Image.open(io.BytesIO(encoded)).convert("RGB").tobytes() == data


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (pickle.dumps({b"data": Evil()}, protocol=2), "a batch is damaged: it names "),
        (b"\x80\x02nonsense", "a batch is damaged"),
        (old_pickle({b"data": np.zeros((2, 3072), np.uint8)}), "lacks its data or its labels"),
        (old_pickle({b"data": np.zeros((2, 30), np.uint8), b"labels": [0, 1]}), "a batch has data of uint8 (2, 30)"),
        (old_pickle({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}), "of 10 classes, and others"),
    ],
)
def test_damaged_pickles_are_told_and_run_nothing(tmp_path: Path, batch: bytes, said: str) -> None:
    folder = unpacked(tmp_path, ten_python())
    (folder / "cifar-10-batches-py" / "data_batch_3").write_bytes(batch)
    assert said in message(lambda: opened(folder))


def test_damaged_records_are_told(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "a", ten_binary())
    path = folder / "cifar-10-batches-bin" / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])
    assert "no multiple of 3,073" in message(lambda: opened(folder))
    half = packed(tmp_path / "b", ten_python(), "cifar-10-python.tar.gz") / "cifar-10-python.tar.gz"
    half.write_bytes(half.read_bytes()[:5000])
    assert "cifar-10-python.tar.gz: cannot be read" in message(lambda: opened(half))
