"""A small ILSVRC-2012: archives, development kit and lists with the real layout and names, and the known defects.

Class numbers of the kit are an order of their own, as in the real one, which has synsets that are no classes too.
"""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from data_samples import encoded, picture
from PIL import Image

WORDS = {
    "n01440764": "tench, Tinca tinca",
    "n01443537": "goldfish, Carassius auratus",
    "n02105855": "Shetland sheepdog, Shetland sheep dog, Shetland",
    "n03710193": "mailbox, letter box",
    "n04152593": "screen, CRT screen",
    "n13054560": "bolete",
}
IDS = {3: "n01440764", 1: "n01443537", 6: "n02105855", 2: "n03710193", 5: "n04152593", 4: "n13054560"}
DEFECTS = {
    "n01440764_3": "broken",  # truncated
    "n01443537_2": "turned",
    "n02105855_2933": "named as another format",
    "n03710193_1": "CMYK",
    "n04152593_4": "greyscale",
}


def photograph(seed: int, height: int = 60, width: int = 80) -> bytes:
    """A JPEG with a JFIF header, as most of the real ones."""
    return encoded(picture(seed, height, width), quality=90)


def defective(kind: str, seed: int) -> bytes:
    """A file with one of the known defects."""
    image = picture(seed, 70, 50)
    if kind == "CMYK":
        return encoded(image.convert("CMYK"), quality=90)
    if kind == "named as another format":
        return encoded(image, "PNG")
    if kind == "greyscale":
        return encoded(image.convert("L"), quality=90)
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        return encoded(image, quality=90, exif=exif)
    return photograph(seed)[:200]


def training_images(wnid: str, each: int) -> Iterator[tuple[str, bytes]]:
    """The files of a class; one of each defect is among them."""
    numbers = [*range(1, each + 1), *([2933] if wnid == "n02105855" else [])]
    for number in numbers:
        name = f"{wnid}_{number}"
        seed = int(wnid[1:]) + number
        yield f"{name}.JPEG", defective(DEFECTS[name], seed) if name in DEFECTS else photograph(seed)


def tarred(files: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]], path: Path | None = None) -> bytes:
    """An archive of files, in memory or at a path."""
    memory = io.BytesIO()
    with tarfile.open(path, "w") if path else tarfile.open(fileobj=memory, mode="w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return memory.getvalue()


def validation(count: int) -> tuple[list[tuple[str, bytes]], list[int]]:
    """The flat validation images, and the ILSVRC id of each."""
    chance = random.Random(0)
    truth = [chance.choice(list(IDS)) for _ in range(count)]
    return [(f"ILSVRC2012_val_{i:08}.JPEG", photograph(5000 + i)) for i in range(1, count + 1)], truth


def meta() -> bytes:
    """meta.mat: the classes and two synsets above them."""
    from scipy.io import savemat

    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    above = {100: ("n00001740", "entity", 2), 101: ("n02084071", "dog, domestic dog", 1)}
    rows = [(number, IDS[number], WORDS[IDS[number]], "a gloss", 0) for number in sorted(IDS)]
    rows += [(number, wnid, words, "a gloss", children) for number, (wnid, words, children) in above.items()]
    file = io.BytesIO()
    savemat(file, {"synsets": np.array(rows, dtype=fields).reshape(-1, 1)})
    return file.getvalue()


def devkit(truth: list[int]) -> dict[str, bytes]:
    """Files of the development kit."""
    lines = "".join(f"{number}\n" for number in truth).encode()
    return {
        "ILSVRC2012_devkit_t12/readme.txt": b"read me",
        "ILSVRC2012_devkit_t12/data/meta.mat": meta(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": lines,
    }


def archives(folder: Path, each: int = 6, val: int = 12) -> Path:
    """ILSVRC-2012 as it is given out: three archives in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = [(f"{wnid}.tar", tarred(training_images(wnid, each))) for wnid in WORDS]
    tarred(classes, folder / "ILSVRC2012_img_train.tar")
    images, truth = validation(val)
    tarred(images, folder / "ILSVRC2012_img_val.tar")
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        for name, content in devkit(truth).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return folder


def folders(folder: Path, each: int = 6, val: int = 12) -> Path:
    """The same, with training images in class folders and validation images in one, and Caffe's lists beside them."""
    for wnid in WORDS:
        for name, content in training_images(wnid, each):
            write(folder / "train" / wnid / name, content)
    images, truth = validation(val)
    for name, content in images:
        write(folder / "val" / name, content)
    place = {wnid: i for i, wnid in enumerate(sorted(WORDS))}
    lines = (f"{name} {place[IDS[number]]}\n" for (name, _), number in zip(images, truth, strict=True))
    write(folder / "val.txt", "".join(lines).encode())
    write(folder / "synset_words.txt", "".join(f"{wnid} {WORDS[wnid]}\n" for wnid in sorted(WORDS)).encode())
    return folder


def torchvision(folder: Path, each: int = 6, val: int = 12) -> Path:
    """The same in class folders altogether, as torchvision unpacks it, beside the development kit."""
    folders(folder, each, val)
    _, truth = validation(val)
    for i, number in enumerate(truth, 1):
        name = f"ILSVRC2012_val_{i:08}.JPEG"
        (folder / "val" / IDS[number]).mkdir(exist_ok=True)
        (folder / "val" / name).rename(folder / "val" / IDS[number] / name)
    (folder / "val.txt").unlink()
    (folder / "synset_words.txt").unlink()
    for path, content in devkit(truth).items():
        write(folder / path, content)
    return folder


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
