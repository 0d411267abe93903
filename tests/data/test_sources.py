"""Sources: what they find, in which order, and what they say when it is not there."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_samples import files, folder_source, jpeg, real, tar_source, write_folder, write_tar

from netspec.data import source as source_contract
from netspec.data.describe import check_classes, describe
from netspec.data.source import BrokenImage, Split
from netspec.data.sources import open_source, source_from_path, source_types
from netspec.errors import NetspecError
from netspec.spec.types import DataSpec


def names(split: Split) -> list[str]:
    return [split.name(i) for i in range(len(split))]


def test_types_are_found_by_walking_the_folder_and_need_neither_numpy_nor_pil():
    assert list(source_types()) == ["folder", "generated", "tar"]
    code = (
        "import sys; from netspec.data.sources import source_types; source_types();"
        "print([name for name in ('numpy', 'PIL', 'jsonschema') if name in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("layout", ["folder", "tars", "one tar", "one tar with ./"])
def test_every_layout_gives_the_same_images_labels_and_classes(tmp_path, layout):
    train, val = files(3, 4), {"class2/x.png": jpeg(7), "class0/y.JPEG": jpeg(8)}
    both = {f"train/{k}": v for k, v in train.items()} | {f"val/{k}": v for k, v in val.items()}
    if layout == "folder":
        source = folder_source(write_folder(tmp_path, both))
    elif layout == "tars":
        write_tar(tmp_path / "train.tar", {f"train/{k}": v for k, v in reversed(train.items())})
        write_tar(tmp_path / "test.tar", val)
        source = tar_source(tmp_path)
    else:
        prefix = "./" if layout.endswith("./") else ""
        source = tar_source(write_tar(tmp_path / "all.tar", {prefix + k: v for k, v in both.items()}))
    assert source.classes == ("class0", "class1", "class2")
    assert source.train.labels.dtype == np.int32
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [source.train.read(i) for i in range(12)] == list(train.values())
    assert source.val is not None
    assert source.val.labels.tolist() == [0, 2]
    assert source.val.read(0) == jpeg(8)
    assert [name.rpartition("class")[2] for name in names(source.val)] == ["0/y.JPEG", "2/x.png"]
    copy = pickle.loads(pickle.dumps(source))
    assert copy.train.read(5) == source.train.read(5)


def test_train_and_val_are_chosen_by_name(tmp_path):
    for name, each in (("small", 2), ("large", 3), ("val", 1)):
        write_folder(tmp_path / name, files(2, each))
        write_tar(tmp_path / f"{name}.tar", files(2, each))
    for kind, end in (("folder", ""), ("tar", ".tar")):
        attrs = {"type": kind, "path": str(tmp_path), "train": "large" + end, "val": "small" + end}
        source = open_source(DataSpec(attrs), 0)
        assert (len(source.train), len(source.val or ())) == (6, 4)


def test_a_folder_passes_over_what_is_no_image_and_follows_links(tmp_path):
    write_folder(tmp_path / "train", {"a/1.jpg": b"1", "a/readme.txt": b"", "a/._1.jpg": b"", ".git/b/2.jpg": b""})
    write_folder(tmp_path / "elsewhere", {"3.jpg": b"3"})
    (tmp_path / "train" / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "train" / "a" / "pipe.jpg")
    source = folder_source(tmp_path)
    assert names(source.train) == ["a/1.jpg", "linked/3.jpg"]
    assert source.val is None


def test_an_archive_passes_over_what_is_hidden(tmp_path):
    content = {"train/a/1.jpg": b"1", "train/a/._1.jpg": b"", "train/.trash/2.jpg": b"2", ".git/train/b/3.jpg": b"3"}
    path = write_tar(tmp_path / "x.tar", content)
    with tarfile.open(path, "a") as archive:
        hidden = tarfile.TarInfo("train/.ipynb_checkpoints")
        hidden.type = tarfile.DIRTYPE
        archive.addfile(hidden)
    source = tar_source(path)
    assert names(source.train) == ["train/a/1.jpg"]
    assert source.classes == ("a",)


def test_links_to_nowhere_and_to_themselves_are_broken_images(tmp_path):
    folder = write_folder(tmp_path / "train", {"a/1.jpg": b"1"}) / "a"
    for name, target in (("2.jpg", "gone.jpg"), ("3.jpg", "3.jpg"), ("4.txt", "4.txt"), ("5.jpg", "1.jpg")):
        (folder / name).symlink_to(target)
    split = folder_source(tmp_path).train
    assert names(split) == ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/5.jpg"]
    assert split.read(3) == b"1"
    for i in (1, 2):
        with pytest.raises(OSError):
            split.read(i)


def test_a_pipe_in_place_of_an_image_is_broken_and_does_not_block(tmp_path):
    write_folder(tmp_path / "train", {"a/1.jpg": b"1"})
    source = folder_source(tmp_path)
    (tmp_path / "train/a/1.jpg").unlink()
    os.mkfifo(tmp_path / "train/a/1.jpg")
    with pytest.raises(BrokenImage, match="not a regular file"):
        source.train.read(0)


def test_names_that_are_not_utf8(tmp_path):
    odd = b"train/caf\xe9/\xff.jpg"
    path = os.fsencode(tmp_path) + b"/" + odd
    os.makedirs(os.path.dirname(path))
    Path(os.fsdecode(path)).write_bytes(b"odd")
    write_tar(tmp_path / "train.tar", {odd.decode("utf-8", "surrogateescape"): b"odd"})
    for source in (folder_source(tmp_path), tar_source(tmp_path)):
        assert source.classes == (r"caf\xe9",)
        assert source.train.name(0).endswith(r"caf\xe9/\xff.jpg")
        assert source.train.read(0) == b"odd"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_each_tar_format(tmp_path, format):
    content = {f"train/{c * 70}/{'n' * 80}{i}.jpg": bytes([i]) for c in "ab" for i in range(2)}
    source = tar_source(write_tar(tmp_path / "x.tar", content, format))
    assert source.classes == ("a" * 70, "b" * 70)
    assert [source.train.read(i) for i in range(4)] == [b"\0", b"\1", b"\0", b"\1"]


def test_links_in_a_tar_stay_within_it(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        image = tmp_path / "image.jpg"
        image.write_bytes(b"image")
        archive.add(image, "train/a/1.jpg")
        for name, kind, target in (
            ("a/2.jpg", tarfile.LNKTYPE, "train/a/1.jpg"),
            ("b/1.jpg", tarfile.SYMTYPE, "../a/1.jpg"),
            ("b/2.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("b/3.jpg", tarfile.SYMTYPE, "../../../etc/passwd"),
        ):
            info = tarfile.TarInfo(f"train/{name}")
            info.type, info.linkname = kind, target
            archive.addfile(info)
    split = tar_source(tmp_path).train
    assert [split.read(i) for i in range(3)] == [b"image"] * 3
    for i in (3, 4):
        with pytest.raises(BrokenImage, match="not in the archive"):
            split.read(i)


def message(action) -> str:
    with pytest.raises(NetspecError) as error:
        action()
    return str(error.value)


def test_errors_of_folders(tmp_path):
    assert "no such folder of images" in message(lambda: folder_source(tmp_path / "nowhere"))
    write_folder(tmp_path / "other", files(1, 1))
    assert "holds other/" in message(lambda: folder_source(tmp_path))
    (tmp_path / "train").mkdir()
    assert "no images found" in message(lambda: folder_source(tmp_path))
    (tmp_path / "train/1.jpg").write_bytes(b"")
    assert "1.jpg lies in no class folder" in message(lambda: folder_source(tmp_path))
    (tmp_path / "train/1.jpg").unlink()
    write_folder(tmp_path / "train", files(2, 1))
    (tmp_path / "train/hollow").mkdir()
    assert "no images in 'hollow'" in message(lambda: folder_source(tmp_path))
    (tmp_path / "train/hollow").rmdir()
    write_folder(tmp_path / "val", files(4, 1))
    assert "the training images do not have: 'class2', 'class3'" in message(lambda: folder_source(tmp_path))


def test_a_folder_that_links_to_its_parent_is_an_error(tmp_path):
    write_folder(tmp_path / "train", files(1, 1))
    (tmp_path / "train/class0/loop").symlink_to(tmp_path / "train")
    assert "a link to its parent?" in message(lambda: folder_source(tmp_path))


def test_errors_of_archives(tmp_path):
    assert "no such folder or tar archive" in message(lambda: tar_source(tmp_path / "x"))
    assert "holds no .tar file" in message(lambda: tar_source(tmp_path))
    write_tar(tmp_path / "all.tar", files(2, 4, "train/"))
    assert "holds all.tar" in message(lambda: tar_source(tmp_path))
    assert "no folder 'small'" in message(lambda: tar_source(tmp_path / "all.tar", val="small"))
    whole = (tmp_path / "all.tar").read_bytes()
    header = next(i for i in range(512, len(whole), 512) if whole[i:].startswith(b"train/class1/000"))
    for name, content, expected in (
        ("a", b"\x1f\x8b" + whole[2:], "run gunzip on it first"),
        ("b", b"no archive" * 100, "no tar archive"),
        ("c", whole[:header] + b"\x55" * 512 + whole[header + 512 :], f"damaged near byte {header:,}"),
        ("d", whole[: header + 700], "no tar archive, or a damaged one"),
    ):
        (tmp_path / name).write_bytes(content)
        assert expected in message(lambda name=name: tar_source(tmp_path / name))


def damaged_archives(tmp_path: Path, count: int) -> Iterator[Path]:
    """Archives of three formats with bytes of their headers changed, most with the right checksum, some cut off."""
    chance = random.Random(0)
    kinds = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    names = ["train/a/1.jpg", "train/a/2.jpg", "train/" + "b" * 40 + "/" + "n" * 90 + ".jpg"]
    good = [write_tar(tmp_path / "x", dict.fromkeys(names, b"?" * 30), kind).read_bytes() for kind in kinds]
    for number in range(count):
        content = bytearray(good[number % 3])
        for _ in range(chance.randint(1, 5)):
            block = chance.randrange(len(content) // 512) * 512
            place = block + chance.choice((chance.randrange(512), 124 + chance.randrange(12), 156))
            content[place] = chance.choice((*b"\0\xff\x807xLS2", chance.randrange(256)))
        for start in (at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"):
            header = content[start : start + 512]
            if number % 4:
                content[start + 148 : start + 156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
        if number % 5 == 0:
            del content[chance.randrange(len(content)) :]
        path = tmp_path / "damaged.tar"
        path.write_bytes(content)
        yield path


def test_sizes_that_cannot_be_are_told(tmp_path):
    """A negative size, which leads back to its own header for ever, and one beyond all memory."""
    good = write_tar(tmp_path / "x.tar", files(1, 3, "train/")).read_bytes()
    start = good.index(b"train/class0/001.jpg")
    for size, kind in ((-1024, b"0"), (2**80, b"x"), (2**60, b"x"), (2**36, b"L")):
        header = bytearray(good[start : start + 512])
        header[124:136] = ((1 << 95) + size if size > 0 else (1 << 96) + size).to_bytes(12, "big")
        header[156:157] = kind
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        (tmp_path / "x.tar").write_bytes(good[:start] + header + good[start + 512 :])
        assert "damaged" in message(lambda: tar_source(tmp_path / "x.tar"))


def test_damaged_archives_are_read_or_told_but_never_a_traceback(tmp_path):
    told = read = 0
    for path in damaged_archives(tmp_path, 300):
        try:
            split = tar_source(path).train
        except NetspecError:
            told += 1
            continue
        for i in range(len(split)):
            assert split.name(i)
            with contextlib.suppress(BrokenImage):
                split.read(i)
                read += 1
    assert min(told, read) > 50


def test_files_beyond_the_size_limit_are_broken(tmp_path, monkeypatch):
    write_folder(tmp_path, {"train/a/1.jpg": b"x" * 1001})
    write_tar(tmp_path / "train.tar", {"train/a/1.jpg": b"x" * 1001})
    monkeypatch.setattr(source_contract, "MAX_FILE_BYTES", 1000)
    for source in (folder_source(tmp_path), tar_source(tmp_path)):
        with pytest.raises(BrokenImage, match="1,001 bytes; files over 1,000 bytes are not read"):
            source.train.read(0)


def test_attributes_are_checked():
    def opened(**source: object) -> str:
        return message(lambda: open_source(DataSpec(source), 0))

    assert opened(type="foldr") == "data.source: unknown type 'foldr' (did you mean 'folder'?)"
    assert "there are: folder, generated, tar" in opened(type="sql")
    assert "'path' is a required property" in opened(type="tar")
    assert opened(type="generated", classes=2000).startswith("data.source.classes: 2000 is greater than")
    assert "'imgs' was unexpected" in opened(type="generated", imgs=1)


def test_source_from_path(tmp_path):
    write_folder(tmp_path / "f", files(2, 1, "train/"))
    write_tar(tmp_path / "t/train.tar", files(2, 1))
    write_tar(tmp_path / "lone/pictures.tar", files(2, 1))
    write_folder(tmp_path / "bare", files(2, 1))
    cases = {
        "f": {"type": "folder", "path": "f"},
        "f/train": {"type": "folder", "path": "f"},
        "t": {"type": "tar", "path": "t"},
        "t/train.tar": {"type": "tar", "path": "t/train.tar"},
        "lone": {"type": "tar", "path": "lone/pictures.tar"},
        "bare": {"type": "folder", "path": "bare", "train": "."},
    }
    for given, expected in cases.items():
        found = source_from_path(tmp_path / given)
        assert found == {**expected, "path": str(tmp_path / expected["path"])}
        assert len(open_source(DataSpec(found), 0).train) == 2
    (tmp_path / "empty").mkdir()
    assert message(lambda: source_from_path(tmp_path / "empty")).endswith("it holds nothing")
    assert "no such folder" in message(lambda: source_from_path(tmp_path / "x"))
    assert f"did you mean {tmp_path}/f or {tmp_path}/t?" in message(lambda: source_from_path(tmp_path))


def test_generated_pictures_are_what_the_spec_asks_for():
    spec = DataSpec({"type": "generated", "classes": 10, "images": 25, "val_images": 5, "size": 20})
    source, other = open_source(spec, 3), open_source(spec, 4)
    assert source.classes == tuple(sorted(source.classes))
    assert (len(source.train), len(source.val or ()), len(source.classes)) == (25, 5, 10)
    assert source.train.read(3).size == (20, 20)
    assert source.train.at_size(50).read(3).size == (20, 20)
    assert source.train.read(3).tobytes() == open_source(spec, 3).train.read(3).tobytes()
    assert source.train.read(3).tobytes() != other.train.read(3).tobytes()
    assert source.val is not None
    assert source.train.read(3).tobytes() != source.val.read(3).tobytes()
    assert open_source(DataSpec(), 0).train.at_size(50).read(3).size == (50, 50)


def test_the_thousand_classes_differ_and_few_differ_in_everything():
    from netspec.data.vocabulary import kinds

    assert len({kind[1:] for kind in kinds(1000)}) == len({kind.name for kind in kinds(1000)}) == 1000
    for part in ("shape", "colour", "texture"):
        assert len({getattr(kind, part) for kind in kinds(10)}) == 10


def test_generated_classes_are_learnable_from_few_pictures():
    """Nearest neighbours on 8 x 8 pixels, a far weaker learner than a convolutional net, are right mostly."""
    spec = DataSpec({"type": "generated", "classes": 10, "images": 1000, "val_images": 200, "size": 32})
    source = open_source(spec, 0)
    assert source.val is not None

    def features(split: Split) -> np.ndarray:
        return np.stack([np.asarray(split.read(i).resize((6, 6)), np.float64).ravel() for i in range(len(split))])

    known, asked = features(source.train), features(source.val)
    distance = (asked**2).sum(1)[:, None] - 2 * asked @ known.T + (known**2).sum(1)
    right = source.train.labels[distance.argmin(1)] == source.val.labels
    assert right.mean() > 0.7


def test_describe_and_check_classes(tmp_path):
    source = folder_source(write_folder(tmp_path, files(3, 4, "train/")))
    assert describe(source) == f"12 training and no validation images of 3 classes from {tmp_path} (folder)"
    assert "drawn by the program; real ones: --data DIR" in describe(open_source(DataSpec(), 0))
    assert check_classes(source, 3) is None
    assert "outputs 3 to 9 are never the answer" in (check_classes(source, 10) or "")
    assert "the data has 3 classes, but the network has 2 outputs" in message(lambda: check_classes(source, 2))


def test_real_archives():
    source = tar_source(real("imagenette"))
    assert source.classes[:2] == ("n01440764", "n02102040")
    assert source.val is not None
    assert np.bincount(source.train.labels).tolist() == [400] * 10
    assert np.bincount(source.val.labels).tolist() == [100] * 10
    assert source.train.read(0)[:2] == source.val.read(999)[:2] == b"\xff\xd8"
