"""Tar archives: what is in them, in every format, whole and damaged."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_samples import files, message, names, tar_source, write_tar

from netspec.data.source import BrokenImage
from netspec.errors import NetspecError


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
        ("z", b"PK\x03\x04" + whole, "run unzip on it first"),
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



Entry = tuple[str, bytes, str, bytes]
"""Name, type, link's target and content of a member."""


def archive_of(path: Path, entries: list[Entry], format: int = tarfile.PAX_FORMAT) -> Path:
    """An archive with those members."""
    with tarfile.open(path, "w", format=format, errors="surrogateescape") as archive:
        for name, kind, target, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def file(name: str, content: bytes = b"?") -> Entry:
    return name, tarfile.REGTYPE, "", content


def found(path: Path) -> dict[str, bytes]:
    """Content by name, ``broken`` where it cannot be read."""
    split = tar_source(path).train
    content = {}
    for i, name in enumerate(names(split)):
        content[name] = b"broken"
        with contextlib.suppress(BrokenImage):
            content[name] = split.read(i)
    return content


def test_the_last_of_two_members_with_one_name_counts_and_hard_links_keep_what_they_were(tmp_path):
    entries = [
        file("train/a/1.jpg", b"old"),
        ("train/a/2.jpg", tarfile.LNKTYPE, "train/a/1.jpg", b""),
        file("./train/a/1.jpg", b"new"),
        ("train/a/3.jpg", tarfile.LNKTYPE, "./train/a/1.jpg", b""),
        ("train/a/4.jpg", tarfile.SYMTYPE, "1.jpg", b""),
        ("train/a/5.jpg", tarfile.LNKTYPE, "train/a/9.jpg", b""),
    ]
    expected = {"1": b"new", "2": b"old", "3": b"new", "4": b"new", "5": b"broken"}
    assert found(archive_of(tmp_path / "x.tar", entries)) == {f"train/a/{k}.jpg": v for k, v in expected.items()}


def test_links_lead_through_folders_as_on_a_disk(tmp_path):
    entries = [
        file("train/a/1.jpg", b"1"),
        file("pool/b/2.jpg", b"2"),
        ("train/b", tarfile.SYMTYPE, "../pool/c", b""),
        ("pool/c", tarfile.SYMTYPE, "b", b""),
        ("train/a/3.jpg", tarfile.SYMTYPE, "../b/../../train/b/2.jpg", b""),
        ("train/a/4.jpg", tarfile.SYMTYPE, "5.jpg", b""),
        ("train/a/5.jpg", tarfile.SYMTYPE, "4.jpg", b""),
        ("train/a/6.jpg", tarfile.SYMTYPE, "1.jpg/", b""),
    ]
    assert found(archive_of(tmp_path / "x.tar", entries)) == {
        "train/a/1.jpg": b"1", "train/a/3.jpg": b"2", "train/a/4.jpg": b"broken", "train/a/5.jpg": b"broken",
        "train/a/6.jpg": b"broken", "train/b/2.jpg": b"2",
    }  # fmt: skip


def test_what_tar_would_not_unpack_is_counted(tmp_path):
    entries = [
        file("/train/a/1.jpg"), file("train/../train/a/2.jpg"), file("../3.jpg"), file("train/a/1.jpg/4.jpg"),
        ("train/a/5.jpg", tarfile.FIFOTYPE, "", b""), ("train/a/6.jpg", tarfile.CHRTYPE, "", b""),
        ("train/b/", tarfile.DIRTYPE, "", b""), file("train/b/7.jpg"), file("train/b", b"no folder"),
        ("label", b"V", "", b""), ("train/b/8.jpg", b"Z", "", b"a kind that nobody knows is a file"),
    ]  # fmt: skip
    source = tar_source(archive_of(tmp_path / "x.tar", entries))
    assert names(source.train) == ["train/a/1.jpg", "train/b/7.jpg", "train/b/8.jpg"]
    assert source.notes[-1] == (
        "passed over: members that another one is in the way of: 2 (train/a/1.jpg/4.jpg, ...); "
        "names with '..' in them: 2 (../3.jpg, ...); pipes, sockets and devices: 2 (train/a/5.jpg, ...)"
    )


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_are_not_utf8_and_are_long(tmp_path, format):
    name = "train/caf\udce9/" + "n" * 150 + "\udcff.jpg"
    source = tar_source(archive_of(tmp_path / "x.tar", [file(name, b"odd")], format))
    assert source.classes == (r"caf\xe9",)
    assert source.train.read(0) == b"odd"


def test_where_a_split_begins_in_its_own_archive(tmp_path):
    def classes(*paths: str) -> tuple[str, ...]:
        return tar_source(archive_of(tmp_path / "train.tar", [file(path) for path in paths]).parent).classes

    assert classes("cat/1.jpg", "dog/x/2.jpg") == ("cat", "dog")
    assert classes("train/cat/1.jpg", "train/dog/2.jpg", "README.txt") == ("cat", "dog")
    assert classes("some/train/cat/1.jpg", "some/train/dog/2.jpg") == ("cat", "dog")
    assert classes("bus/1.jpg", "train/2.jpg") == ("bus", "train")
    assert classes("train/bus/1.jpg", "train/train/2.jpg") == ("bus", "train")
    assert classes("bus/train/2.jpg", "car/3.jpg") == ("bus", "car")


def test_where_splits_begin_in_one_archive(tmp_path):
    def shapes(*paths: str) -> tuple[tuple[str, ...], int, int]:
        data = tar_source(archive_of(tmp_path / "x.tar", [file(path) for path in paths]))
        return data.classes, len(data.train), len(data.val) if data.val else 0

    assert shapes("train/a/1.jpg", "val/a/2.jpg") == (("a",), 1, 1)
    assert shapes("d/train/a/1.jpg", "d/valid/a/2.jpg", "docs/x.txt") == (("a",), 1, 1)
    assert shapes("train/a/1.jpg", "train/a/test/2.jpg") == (("a",), 2, 0)
    assert shapes("a/1.jpg", "b/train/2.jpg") == (("a", "b"), 2, 0)
    assert "no folder 'train' in the archive" in message(lambda: shapes("val/a/1.jpg", "val/b/1.jpg"))


SPARSE = {
    b"": (),
    b"head" + bytes(2000) + b"tail": ((0, 4), (2004, 4)),
    bytes(3000): (),
    bytes(100) + b"x": ((100, 1),),
}


def pieces_of(content: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """The pieces of a sparse file, with the empty one that marks its end, and what is stored."""
    pieces = [*SPARSE[content], (len(content), 0)]
    return pieces, b"".join(content[at : at + length] for at, length in pieces)


def old_gnu_sparse(name: str, content: bytes) -> bytes:
    pieces, stored = pieces_of(content)
    info = tarfile.TarInfo(name)
    info.type, info.size = tarfile.GNUTYPE_SPARSE, len(stored)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for i, numbers in enumerate(pieces):
        header[386 + 24 * i : 410 + 24 * i] = b"".join(b"%011o\0" % number for number in numbers)
    header[483:495] = b"%011o\0" % len(content)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + stored + bytes(-len(stored) % 512)


def pax_sparse(name: str, content: bytes, version: str) -> bytes:
    pieces, stored = pieces_of(content)
    numbers = [number for piece in pieces for number in piece]
    info = tarfile.TarInfo(name)
    if version == "1.0":
        listed = "".join(f"{number}\n" for number in (len(pieces), *numbers)).encode()
        stored = listed + bytes(-len(listed) % 512) + stored
        headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(len(content))}
    else:
        headers = {"GNU.sparse.map": ",".join(map(str, numbers)), "GNU.sparse.size": str(len(content))}
    info.size, info.pax_headers = len(stored), {**headers, "GNU.sparse.name": name}
    return info.tobuf(tarfile.PAX_FORMAT) + stored + bytes(-len(stored) % 512)


@pytest.mark.parametrize("version", ["old", "0.1", "1.0"])
def test_sparse_files_are_read(tmp_path, version):
    content = {f"train/a/{i}.bmp": data for i, data in enumerate(SPARSE)}
    members = [
        old_gnu_sparse(name, data) if version == "old" else pax_sparse(name, data, version)
        for name, data in content.items()
    ]
    last = tarfile.TarInfo("train/a/9.bmp").tobuf()
    (tmp_path / "x.tar").write_bytes(b"".join(members) + last + bytes(1024))
    assert found(tmp_path / "x.tar") == {**content, "train/a/9.bmp": b""}


def test_sparse_files_of_gnu_tar_are_read(tmp_path):
    tar = shutil.which("tar")
    if tar is None or b"GNU tar" not in subprocess.run([tar, "--version"], capture_output=True).stdout:
        pytest.skip("needs GNU tar")
    content = {f"train/a/{i}.bmp": bytes(100_000 * i) + b"end" + bytes(70_000) for i in range(3)}
    for name, data in content.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            out.truncate(len(data))
            out.seek(data.index(b"e"))
            out.write(b"end")
    for options in (["--format=gnu"], *(["--format=posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))):
        subprocess.run([tar, "-S", *options, "-C", tmp_path, "-cf", tmp_path / "x.tar", "train"], check=True)
        assert found(tmp_path / "x.tar") == content, options


@pytest.mark.parametrize("numbers", ["0,9", "5,-1", "0,2,1,2", "9,1", "-1,2"])
def test_sparse_files_whose_pieces_do_not_fit_are_broken(tmp_path, numbers):
    info = tarfile.TarInfo("train/a/1.bmp")
    info.size, info.pax_headers = 8, {"GNU.sparse.map": numbers, "GNU.sparse.size": "8"}
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(512 + 1024))
    assert found(tmp_path / "x.tar") == {"train/a/1.bmp": b"broken"}


def test_an_archive_cut_off_within_the_list_of_a_sparse_file_is_told(tmp_path):
    whole = old_gnu_sparse("train/a/1.bmp", b"head" + bytes(2000) + b"tail")
    header = bytearray(whole[:512])
    header[482] = 1  # more of the list follows, where the archive ends
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header))
    assert "is no tar archive, or a damaged one" in message(lambda: tar_source(tmp_path / "x.tar"))
