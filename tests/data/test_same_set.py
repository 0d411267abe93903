"""Any tree of folders gives the same set from the disk and from archives of it, however they were packed."""

from __future__ import annotations

import os
import random
import re
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from data_samples import folder_source, tar_source

from netspec.data.dataset import Dataset
from netspec.data.source import BrokenImage, Split
from netspec.errors import NetspecError

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "K\u00e4fer").encode() for form in ("NFC", "NFD"))
CLASSES = (b"cat", b"dog", COMPOSED, DECOMPOSED, b"caf\xe9", b"a b")
FOLDERS = (*CLASSES, b"images", b"2019", b"2020", b".git", b"@eaDir", b"__MACOSX", b"x.jpg", b"test", b"train")
FILES = (b"1.jpg", b"2.JPEG", b"3.jfif", b"4.jpe", b"5.png", b"e\xcc\x81.webp", b"\xff.bmp", b"x\x1b[1m.gif", b"7.tif",
         b"._1.jpg", b".DS_Store", b"Thumbs.db", b"notes.txt", b"8.avif", b"README", b"desktop.ini")  # fmt: skip


def grow(folder: bytes, chance: random.Random, depth: int) -> None:
    """Fill a folder at random: files, folders, pipes, hard links, and links to whatever lies in the same split."""
    os.makedirs(folder, exist_ok=True)
    for _ in range(chance.randint(1, 5)):
        path = os.path.join(folder, chance.choice(FILES))
        match chance.randrange(12):
            case 0 if not os.path.lexists(path):
                os.mkfifo(path)
            case 1 | 2 if not os.path.lexists(path):
                target = b"/".join([b".."] * chance.randint(0, depth - 1) + [chance.choice(FOLDERS + FILES)])
                place = path if chance.randrange(2) else os.path.join(folder, b"link%d" % chance.randrange(10**9))
                os.symlink(target, place)
            case 3 if not os.path.lexists(path) and os.path.isfile(other := os.path.join(folder, b"1.jpg")):
                os.link(os.path.realpath(other), path)
            case _ if not os.path.lexists(path):
                Path(os.fsdecode(path)).write_bytes(b"%d" % chance.randrange(10**9))
    for name in chance.sample(FOLDERS, chance.randint(0, 2)) if depth < 4 else ():
        if not os.path.lexists(os.path.join(folder, name)):
            grow(os.path.join(folder, name), chance, depth + 1)


def tree(root: Path, seed: int) -> Path:
    """A random data set: splits of class folders, with files beside them."""
    chance = random.Random(seed)
    for split in (b"train", b"val")[: chance.randint(1, 2)]:
        for name in chance.sample(CLASSES, chance.randint(1, 4)):
            folder = os.path.join(os.fsencode(root), split, name)
            os.makedirs(folder)
            Path(os.fsdecode(os.path.join(folder, b"0.jpg"))).write_bytes(b"%d" % chance.randrange(10**9))
            if chance.randrange(4):
                grow(folder, chance, 2)
        if chance.randrange(2):
            grow(os.path.join(os.fsencode(root), split), chance, 1)
    return root


def content(split: Split | None, prefix: str) -> list[tuple[object, ...]]:
    """Label, name below the split, and bytes of each image; links to nowhere are broken in every source."""
    found = []
    for i in range(len(split) if split else 0):
        assert split is not None and split.name(i).startswith(prefix)
        try:
            data: object = split.read(i)
        except (BrokenImage, OSError):
            data = "broken"
        found.append((int(split.labels[i]), split.name(i).removeprefix(prefix), data))
    return found


def outcome(make: Callable[[Path], Dataset], path: Path, around: str = "", named: bool = False) -> object:
    """All that can be seen of a data set, or what is said of it, without the place it lies at.

    ``around`` is what leads to the splits in an archive, ``named`` says that they have their folder there.
    """
    try:
        data = make(path)
    except NetspecError as error:
        return reduced(str(error), path)
    train, val = (content(part, f"{around}{name}/" if named else "") for part, name in
                  ((data.train, "train"), (data.val, "val")))  # fmt: skip
    return data.classes, train, val, [reduced(note, path) for note in data.notes[1:]]


def reduced(message: str, path: Path) -> str:
    """A message without places and examples."""
    message = message.replace(str(path), "").replace("/train.tar", "/train").replace("/val.tar", "/val")
    message = re.sub(r"(/some/where)?(/train|/val)\2?", r"\2", message)
    return re.sub(r" \([^)]*\)", "", message)


def pack(target: Path, folder: Path, names: list[str], prefix: str, kind: int) -> Path:
    with tarfile.open(target, "w", format=kind, encoding="utf-8", errors="surrogateescape") as archive:
        for name in names:
            archive.add(folder / name, prefix + name)
    return target


@pytest.mark.parametrize("seed", range(40))
def test_disk_and_archives_give_the_same_set(tmp_path, seed):
    root = tree(tmp_path / "set", seed)
    splits = sorted(os.listdir(root))
    kind = tarfile.GNU_FORMAT if seed % 2 else tarfile.PAX_FORMAT
    expected = outcome(folder_source, root)
    for prefix in ("", "./", "/", "some/where/"):
        one = pack(tmp_path / "one.tar", root, splits, prefix, kind)
        assert outcome(tar_source, one, prefix.strip("./") + "/" * (len(prefix) > 2), named=True) == expected, prefix
    for inner in (True, False):
        apart = tmp_path / f"apart{inner}"
        apart.mkdir()
        for split in splits:
            names = [split] if inner else os.listdir(root / split)
            pack(apart / f"{split}.tar", root if inner else root / split, names, "", kind)
        assert outcome(tar_source, apart, named=inner) == expected, inner
