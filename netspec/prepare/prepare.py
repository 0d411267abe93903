"""Prepares a set: writes the images of any source to tar shards, in parallel, to go on from where a kill left it.

The processes encode a few images at a time; this one writes them to shards in order. A shard is written aside, synced
and renamed, and only then entered in the index; so what the index lists is whole, and what a kill cut short is made
again. Which images a shard holds depends on the list of images and the options alone, so shards come out the same,
byte for byte, for any number of workers and of restarts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from netspec.data.dataset import Dataset
from netspec.data.pipeline import MOST_BROKEN, MOST_BROKEN_SHARE
from netspec.data.shards.shard_index import INDEX, Record, ShardIndex, append, header_of, read_index, write_index
from netspec.errors import NetspecError, printable
from netspec.machine.atomic_files import remove_unfinished, told, write_text, write_whole
from netspec.machine.cleanup import on_exit
from netspec.prepare.encode import BROKEN, Encoded, Recipe, encode_all
from netspec.prepare.shard_plan import SplitPlan, plan_split
from netspec.prepare.worker_pool import Pool
from netspec.units import many, percent

REPORT = "report.txt"
_CHUNK = 16
_IDENTITY = ("options", "splits", "classes")
"""What makes two starts one set; the source may have moved."""
_READ = 2**20
_BLOCK = 512

Tell = Callable[[int], None]
"""Called with how many more images are done."""


class Options(NamedTuple):
    """How a set is prepared: the recipe of an image, images a shard, and worker processes (0: none beside this one)."""

    recipe: Recipe
    shard_size: int
    workers: int


@dataclass(frozen=True)
class Prepared:
    """What came of it: images and broken ones by split, remarks by kind, and how many shards were made just now.

    ``broken`` holds (image, reason).
    """

    images: Mapping[str, int]
    broken: Mapping[str, list[tuple[str, str]]]
    remarks: Mapping[str, int]
    bytes: int
    shards: int
    made: int


@dataclass
class _Shard:
    """A shard that is being written: where in the file it stands, its digest, and what the index will say of it."""

    record: Record
    sha256: Any = field(default_factory=hashlib.sha256)
    at: int = 0

    def piece(self, content: bytes) -> bytes:
        """Count bytes of the file."""
        self.sha256.update(content)
        self.at += len(content)
        return content


def prepare(
    dataset: Dataset, source: Mapping[str, Any], out: Path, options: Options, tell: Tell = lambda images: None
) -> Prepared:
    """Write the set to a folder, or finish what was begun there; see the module's text.

    ``source`` is the source's description, which the index keeps. Raises NetspecError for a folder of something else,
    where the disk takes no more, and, once all is written, where more than 10 images and 5 % of a split are broken.
    """
    splits = {"train": dataset.train, **({"val": dataset.val} if dataset.val is not None else {})}
    plans = [
        plan_split("train" if name == "train" else "val", images, dataset.classes, options.recipe, options.shard_size)
        for name, images in splits.items()
    ]
    with _alone(out):
        return _prepare(plans, _header(dataset, source, options, plans), out, options, tell)


def _prepare(plans: list[SplitPlan], header: dict[str, Any], out: Path, options: Options, tell: Tell) -> Prepared:
    index = _begin(out, header)
    with Pool(options.workers) as pool, told(out / INDEX), (out / INDEX).open("ab", buffering=0) as journal:
        remove_unfinished(out)
        _drop_damaged(index, pool, tell)
        missing = [(plan, shard) for plan in plans for shard, name in enumerate(plan.shards) if name in _missing(index)]
        for record in _written(missing, out, options, pool, tell):
            append(journal.fileno(), record)
            index.add(record)
    write_index(index)
    write_text(out / REPORT, "".join(_report(index)))
    return _refuse_broken(_summed(index, len(missing)), out)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Make the folder where it is not there, and hold a lock on it. Raises NetspecError where another process does."""
    with told(out):
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY)
    with on_exit(partial(os.close, handle)):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NetspecError(f"{printable(out)}: another process is preparing this set") from error
        yield


def _header(
    dataset: Dataset, source: Mapping[str, Any], options: Options, plans: list[SplitPlan]
) -> dict[str, Any]:
    splits = {
        plan.name: {"images": len(plan.order), "shards": len(plan.shards), "digest": plan.digest()} for plan in plans
    }
    made = {"size": options.recipe.size, "quality": options.recipe.quality or "lossless"}
    classes = [[name, dataset.words.get(name, "")] for name in dataset.classes]
    return header_of(
        source=dict(source), options={**made, "shard_size": options.shard_size}, splits=splits, classes=classes
    )


def _begin(out: Path, header: dict[str, Any]) -> ShardIndex:
    """The index of the folder: a new one, or that of the same set, begun before."""
    with told(out):
        there = [path.name for path in out.iterdir() if not path.name.endswith(".unfinished")]
    if INDEX in there and (out / INDEX).stat().st_size:
        index = read_index(out)
        if changed := [key for key in _IDENTITY if index.header.get(key) != header[key]]:
            pairs = (f"its {key}: {_short(index.header.get(key))}, now {_short(header[key])}" for key in changed)
            raise NetspecError(f"{printable(out)}: holds another set ({'; '.join(pairs)}); choose another folder")
        write_index(index)  # without a line that a kill cut short
        return index
    if there:
        raise NetspecError(f"{printable(out)}: holds other files ({printable(sorted(there)[0])}); choose a new folder")
    index = ShardIndex(out, header)
    write_index(index)
    return index


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}..."


def _missing(index: ShardIndex) -> set[str]:
    return set(index.unfinished())


def _drop_damaged(index: ShardIndex, pool: Pool, tell: Tell) -> None:
    """Forget shards whose file is not what the index says; the others are done."""
    arguments = ((index.folder / record.shard, record.bytes, record.sha256) for record in index.records())
    checks = pool.in_order(is_whole, arguments)
    for record, whole in zip(index.records(), list(checks), strict=True):
        if whole:
            tell(len(record.names) + sum(kind == BROKEN for kind, _, _ in record.remarks))
        else:
            index.drop(record.shard)


def is_whole(path: Path, size: int, sha256: str) -> bool:
    """Whether a file has that size and digest."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == size and hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _written(
    missing: list[tuple[SplitPlan, int]], out: Path, options: Options, pool: Pool, tell: Tell
) -> Iterator[Record]:
    """Make the shards, in order; each is on the disk when its record comes."""
    chunks = (
        (plan.images.part(plan.order[chunk.start : chunk.stop]), options.recipe)
        for plan, shard in missing
        for chunk in _chunks(plan.places(shard))
    )
    encoded = pool.in_order(encode_all, chunks)
    for plan, number in missing:
        shard = _Shard(Record(plan.shards[number], 0, "", [], [], [], [], []))
        write_whole(out / shard.record.shard, _pieces(plan, plan.places(number), encoded, shard, tell))
        yield shard.record._replace(bytes=shard.at, sha256=shard.sha256.hexdigest())


def _chunks(places: range) -> Iterator[range]:
    return (places[start : start + _CHUNK] for start in range(0, len(places), _CHUNK))


def _pieces(
    plan: SplitPlan, places: range, encoded: Iterator[list[Encoded]], shard: _Shard, tell: Tell
) -> Iterator[bytes]:
    """The bytes of a shard, which is noted down on the way."""
    for chunk in _chunks(places):
        for place, image in zip(chunk, next(encoded), strict=True):
            source = int(plan.order[place])
            name = plan.images.name(source) if image.remarks else ""
            shard.record.remarks.extend((kind, name, detail) for kind, detail in image.remarks)
            if image.content is not None:
                yield from _member(plan.names[place], int(plan.images.labels[source]), image.content, shard)
        tell(len(chunk))
    yield shard.piece(bytes(2 * _BLOCK))


def _member(name: bytes, label: int, content: bytes, shard: _Shard) -> Iterator[bytes]:
    info = tarfile.TarInfo(name.decode())
    info.size = len(content)
    yield shard.piece(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    record = shard.record
    record.names.append(info.name)
    record.labels.append(label)
    record.offsets.append(shard.at)
    record.sizes.append(len(content))
    yield shard.piece(content + bytes(-len(content) % _BLOCK))


def _report(index: ShardIndex) -> Iterator[str]:
    """Lines of what, split, image and detail, with tabs between; first those that say how many there are."""
    for kind, count in sorted(_kinds(index).items()):
        yield f"# {count:,} {kind}\n"
    for record in index.records():
        split = record.shard.rpartition("-")[0]
        for kind, name, detail in record.remarks:
            yield f"{kind}\t{split}\t{name}\t{detail}\n"


def _kinds(index: ShardIndex) -> Counter[str]:
    return Counter(kind for record in index.records() for kind, _, _ in record.remarks)


def _summed(index: ShardIndex, made: int) -> Prepared:
    images: Counter[str] = Counter()
    broken: dict[str, list[tuple[str, str]]] = {}
    size = shards = 0
    for record in index.records():
        split = record.shard.rpartition("-")[0]
        size, shards = size + record.bytes, shards + 1
        images[split] += len(record.names)
        broken.setdefault(split, []).extend((name, why) for kind, name, why in record.remarks if kind == BROKEN)
    return Prepared(images, broken, _kinds(index), size, shards, made)


def _refuse_broken(done: Prepared, out: Path) -> Prepared:
    for split, broken in done.broken.items():
        total = done.images[split] + len(broken)
        if len(broken) == total or len(broken) > max(MOST_BROKEN, MOST_BROKEN_SHARE * total):
            examples = "".join(f"\n  {name}: {reason}" for name, reason in broken[:5])
            count = f"{len(broken):,} of {many(total, 'image')} of the split '{split}' are broken"
            listed = f"{printable(out / REPORT)} lists them{examples}"
            raise NetspecError(f"{count}, more than {percent(MOST_BROKEN_SHARE, 0)}; {listed}")
    return done
