"""ILSVRC's layout at a sixth of its size: 200,000 tiny images with the known defects, in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import ilsvrc_lookalike as lookalike
import pytest
from PIL import Image

from netspec.data.dataset import open_dataset
from netspec.data.layout import source_from_path
from netspec.data.settings import DataSpec

CLASSES, VAL = 1000, 500
BYTES_AN_IMAGE = 250
"""The command's memory grows by the list of images, and by nothing else; measured are some 170."""

MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
DEFECTS = {3: "broken", 50: "CMYK", 120: "named as another format", 170: "greyscale", 999: "turned"}
"""By class: its first image has the defect."""


def tiny() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 18), "green").save(file, "JPEG")
    return file.getvalue()


def wnid(number: int) -> str:
    return f"n{1440764 + 7 * number:08}"


def given_out(folder: Path, each: int) -> Path:
    folder.mkdir()
    picture = tiny()
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as archive:
        for number in range(CLASSES):
            first = lookalike.defective(DEFECTS[number], 1) if number in DEFECTS else picture
            names = [f"{wnid(number)}_{i}.JPEG" for i in range(each)]
            content = lookalike.tarred(list(zip(names, [first, *[picture] * (each - 1)], strict=True)))
            info = tarfile.TarInfo(f"{wnid(number)}.tar")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    names = [f"ILSVRC2012_val_{i:08}.JPEG" for i in range(1, VAL + 1)]
    lookalike.tarred([(name, picture) for name in names], folder / "ILSVRC2012_img_val.tar")
    (folder / "synset_words.txt").write_text("".join(f"{wnid(n)} thing {n}\n" for n in range(CLASSES)))
    (folder / "val.txt").write_text("".join(f"{name} {i % CLASSES}\n" for i, name in enumerate(names)))
    return folder


def peak(source: Path, out: Path) -> int:
    """Bytes of the command's largest process."""
    command = [sys.executable, "-m", "netspec", "data", "prepare", str(source), str(out), "--size", "16"]
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], check=True, capture_output=True)
    return int(done.stdout) * 1024


@pytest.mark.slow
def test_two_hundred_thousand_images(tmp_path: Path) -> None:
    small = peak(given_out(tmp_path / "small", 20), tmp_path / "prepared small")
    large = peak(given_out(tmp_path / "large", 200), tmp_path / "prepared")
    assert large - small < BYTES_AN_IMAGE * 180 * CLASSES, (small, large)
    found = open_dataset(DataSpec(source_from_path(tmp_path / "prepared")), 0)
    assert (len(found.train), len(found.classes)) == (200 * CLASSES - 1, CLASSES)
    assert found.val is not None and len(found.val) == VAL
    assert found.words[wnid(7)] == "thing 7"
    report = (tmp_path / "prepared" / "report.txt").read_text()
    for number, kind in DEFECTS.items():
        assert f"{kind}\ttrain\t{wnid(number)}/{wnid(number)}_0.JPEG" in report
