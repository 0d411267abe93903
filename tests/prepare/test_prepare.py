"""Prepared sets: their images are those that the pipeline makes of the source, and a kill costs one shard at most."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import ilsvrc_lookalike as lookalike
import numpy as np
import pytest
from data_samples import (
    encoded,
    files,
    folder_source,
    jpeg,
    message,
    names,
    picture,
    tar_source,
    write_folder,
    write_tar,
)
from PIL import Image
from places import TESTS

from netspec.data.dataset import Dataset, open_dataset
from netspec.data.decode import crop_image
from netspec.data.geometry import Geometry, centre
from netspec.data.layout import source_from_path
from netspec.data.settings import DataSpec
from netspec.data.shards.shard_index import INDEX, read_index
from netspec.data.source import Split
from netspec.prepare.encode import Recipe, encode_all
from netspec.prepare.prepare import Options, Prepared, prepare
from netspec.prepare.worker_pool import Pool

JPEGS = Recipe(32, 90)


def opened(path: Path) -> Dataset:
    return open_dataset(DataSpec(source_from_path(path)), 0)


def prepared(source: Path, out: Path, recipe: Recipe = JPEGS, shard: int = 8, workers: int = 0) -> Prepared:
    return prepare(opened(source), source_from_path(source), out, Options(recipe, shard, workers))


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def content(split: Split | None) -> list[tuple[str, int, bytes | object]]:
    assert split is not None
    return [(split.name(i), int(split.labels[i]), split.read(i)) for i in range(len(split))]


def test_a_prepared_look_alike(tmp_path: Path) -> None:
    done = prepared(lookalike.archives(tmp_path / "in"), tmp_path / "out")
    assert (done.images, done.shards, done.made) == ({"train": 36, "val": 12}, 7, 7)
    assert done.remarks == {
        "broken": 1, "turned": 1, "CMYK": 1, "greyscale": 1, "named as another format": 1,
    }  # fmt: skip
    assert [name for name, _ in done.broken["train"]] == ["n01440764/n01440764_3.JPEG"]
    report = (tmp_path / "out" / "report.txt").read_text().splitlines()
    assert "turned\ttrain\tn01443537/n01443537_2.JPEG\tEXIF orientation 6" in report
    assert "named as another format\ttrain\tn02105855/n02105855_2933.JPEG\tPNG named .jpeg" in report
    found = opened(tmp_path / "out")
    assert found.classes == tuple(sorted(lookalike.WORDS)) and found.words == lookalike.WORDS
    assert found.val is not None and len(found.train) == 36 and len(found.val) == 12


def test_pixels_are_those_of_the_pipeline_but_for_the_jpeg(tmp_path: Path) -> None:
    """Of every kind of image; losslessly they are the same, but for a level that Pillow's order of passes moves."""
    source = opened(lookalike.archives(tmp_path)).train
    compared = 0
    for i in range(len(source)):
        image = source.read(i)
        exact = np.empty((32, 32, 3), np.uint8)
        (found,) = encode_all(source.part(np.array([i])), Recipe(32, 0))
        if found.content is None:
            continue
        crop_image(image, Geometry(32, 32, 3, 32), centre, False, exact)
        pixels = np.asarray(_opened(found.content).convert("RGB")).astype(int)
        assert np.abs(pixels - exact).max() <= 1, source.name(i)
        (lossy,) = encode_all(source.part(np.array([i])), Recipe(32, 95))
        assert lossy.content is not None
        assert np.abs(np.asarray(_opened(lossy.content).convert("RGB")).astype(int) - exact).mean() < 6
        compared += 1
    assert compared == 36


def _opened(content: bytes) -> Image.Image:
    import io

    return Image.open(io.BytesIO(content))


def test_any_number_of_workers_and_restarts_give_the_same_bytes(tmp_path: Path) -> None:
    source = lookalike.archives(tmp_path / "in")
    prepared(source, tmp_path / "one")
    prepared(source, tmp_path / "two", workers=2)
    assert written(tmp_path / "one") == written(tmp_path / "two")
    again = prepared(source, tmp_path / "two")
    assert again.made == 0 and written(tmp_path / "one") == written(tmp_path / "two")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from netspec.data.dataset import open_dataset
from netspec.data.layout import source_from_path
from netspec.data.settings import DataSpec
from netspec.prepare.encode import Recipe
from netspec.prepare.prepare import Options, prepare

done = 0

def tell(images):
    global done
    done += images
    if done > int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    found = source_from_path(sys.argv[1])
    prepare(open_dataset(DataSpec(found), 0), found, Path(sys.argv[2]), Options(Recipe(32, 90), 8, 2), tell)
"""


@pytest.mark.parametrize("after", [0, 17, 41])
def test_after_a_kill_what_is_whole_is_kept_and_the_rest_is_made(tmp_path: Path, after: int) -> None:
    source, out = lookalike.archives(tmp_path / "in"), tmp_path / "out"
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(source), str(out), str(TESTS.parent), str(after)]
    done = subprocess.run(command, capture_output=True, timeout=120)  # which waits for the workers' end of the pipe too
    assert done.returncode == -signal.SIGKILL, done.stderr
    index = read_index(out)
    whole = {path.name for path in out.glob("*.tar")}
    assert {record.shard for record in index.records()} == whole
    assert len(index.unfinished()) == 7 - after // 8
    assert "is not finished" in message(lambda: opened(out))
    kept = {name: (out / name).stat().st_mtime_ns for name in whole}
    assert prepared(source, out).made == 7 - after // 8
    assert kept == {name: (out / name).stat().st_mtime_ns for name in whole}
    prepared(source, tmp_path / "other")
    assert written(out) == written(tmp_path / "other")


def test_a_line_cut_short_and_a_damaged_shard_are_made_good(tmp_path: Path) -> None:
    source, out = lookalike.archives(tmp_path / "in"), tmp_path / "out"
    prepared(source, out)
    whole = written(out)
    (out / INDEX).write_bytes(whole[INDEX][:-40])
    assert prepared(source, out).made == 1
    assert written(out) == whole
    (out / "train-00001.tar").write_bytes(whole["train-00001.tar"][:-1] + b"x")
    (out / "val-00000.tar").unlink()
    (out / "train-00002.tar.unfinished").write_bytes(b"half")
    assert prepared(source, out).made == 2
    assert written(out) == whole


def test_with_the_index_and_without_it_is_one_set_and_that_of_the_unpacked_shards(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", files(3, 9, "train/") | files(3, 3, "val/"))
    odd = {"train/class1/deep/002.jpg": jpeg(1), "train/class1/a b.png": encoded(picture(2), "PNG")}
    write_folder(tmp_path / "in", odd | {"train/class0/.jpg.jpg": b"", "train/class2/é.jpeg": jpeg(3)})
    out = tmp_path / "out"
    prepared(tmp_path / "in", out)
    indexed = opened(out)
    (out / INDEX).rename(tmp_path / INDEX)
    globbed = opened(out)
    explicit = tar_source(out, train="train-*.tar", val="val-*.tar")
    for shard in out.glob("*.tar"):
        with tarfile.open(shard) as archive:
            archive.extractall(tmp_path / "unpacked" / shard.name.partition("-")[0], filter="data")
    folder = folder_source(tmp_path / "unpacked")
    for other in (globbed, explicit, folder):
        assert other.classes == indexed.classes == ("class0", "class1", "class2")
        assert content(other.train) == content(indexed.train)
        assert content(other.val) == content(indexed.val)
    assert {"class1/002.jpg", "class1/002-2.jpg", "class1/a b.png.jpg"} <= set(names(indexed.train))


def test_shards_of_others_are_one_set_in_which_later_members_count(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"train-{number}.tar", {f"a/{number}.jpg": jpeg(number), "b/1.jpg": jpeg(10 + number)})
    found = opened(tmp_path)
    assert [(name, data) for name, _, data in content(found.train)] == [
        ("a/0.jpg", jpeg(0)), ("a/1.jpg", jpeg(1)), ("a/2.jpg", jpeg(2)), ("b/1.jpg", jpeg(12)),
    ]  # fmt: skip


def test_a_jpeg_of_the_wanted_size_stays_as_it_is(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", {"train/a/1.jpg": jpeg(1, 32, 32), "train/a/2.jpg": jpeg(2, 32, 33)})
    prepared(source, tmp_path / "out")
    first, second = (data for *_, data in content(opened(tmp_path / "out").train))
    assert first == jpeg(1, 32, 32) and second != jpeg(2, 32, 33)


def test_lossless_is_png(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", files(2, 2, "train/"))
    prepared(source, tmp_path / "out", Recipe(24, 0))
    for name, _, data in content(opened(tmp_path / "out").train):
        assert isinstance(data, bytes) and name.endswith(".jpg.png") and data[1:4] == b"PNG"


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", files(2, 2, "train/"))
    other = write_folder(tmp_path / "other", {"notes.txt": b""})
    assert "holds other files (notes.txt); choose a new folder" in message(lambda: prepared(source, other))
    prepared(source, tmp_path / "out")
    changed = message(lambda: prepared(source, tmp_path / "out", Recipe(24, 90)))
    assert "holds another set (its options: {'size': 32," in changed
    (source / "train/class0/000.jpg").unlink()
    assert "holds another set (its splits: " in message(lambda: prepared(source, tmp_path / "out"))


def test_a_source_that_has_moved_is_the_same_source(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", files(2, 6, "train/"))
    prepared(source, tmp_path / "out", shard=4)
    (tmp_path / "out" / "train-00001.tar").unlink()
    assert prepared(source.rename(tmp_path / "moved"), tmp_path / "out", shard=4).made == 1


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", files(2, 6, "train/"))
    prepared(source, tmp_path / "out")
    held = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    said = message(lambda: prepared(source, tmp_path / "out"))
    os.close(held)
    assert "another process is preparing this set" in said


def test_a_worker_that_dies_is_told() -> None:
    with Pool(1) as pool:
        assert "a worker process died" in message(lambda: list(pool.in_order(os._exit, [(3,)])))


def test_too_many_broken_images_are_an_error(tmp_path: Path) -> None:
    broken = {f"train/class0/{i}.jpg": b"" for i in range(12)}
    source = write_folder(tmp_path / "in", files(2, 8, "train/") | broken)
    said = message(lambda: prepared(source, tmp_path / "out"))
    assert "12 of 28 images of the split 'train' are broken, more than 5 %" in said and "an empty file" in said


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: ["{}", *lines[1:]], "is no index of shards"),
        (lambda lines: [lines[0].replace('"netspec_shards":1', '"netspec_shards":2'), *lines[1:]], "is of format 2"),
        (lambda lines: [lines[0], "{", *lines[2:]], "is damaged"),
        (lambda lines: [lines[0], '{"shard": "x"}'], "is damaged"),
        (lambda lines: lines[:-1], "is not finished, 1 shard missing"),
    ],
)
def test_a_spoilt_index_is_told(tmp_path: Path, spoil: Callable[[list[str]], list[str]], said: str) -> None:
    source = write_folder(tmp_path / "in", files(2, 2, "train/"))
    out = tmp_path / "out"
    prepared(source, out, shard=2)
    lines = (out / INDEX).read_text().splitlines()
    assert json.loads(lines[0])["classes"] == [["class0", ""], ["class1", ""]]
    (out / INDEX).write_text("".join(f"{line}\n" for line in spoil(lines)))
    assert said in message(lambda: opened(out))


def test_a_shard_of_another_size_is_told(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", files(2, 2, "train/"))
    prepared(source, tmp_path / "out")
    with (tmp_path / "out" / "train-00000.tar").open("ab") as file:
        file.write(b"more")
    assert "train-00000.tar: has " in message(lambda: opened(tmp_path / "out"))
    shutil.move(tmp_path / "out" / "train-00000.tar", tmp_path)
    assert "train-00000.tar: is missing" in message(lambda: opened(tmp_path / "out"))
