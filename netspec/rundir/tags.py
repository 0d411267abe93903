"""Tags and a note that people give a run, in a file of the run directory: ``{"tags": [...], "note": "..."}``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from netspec.errors import NetspecError, printable
from netspec.machine.atomic_files import write_text
from netspec.rundir.run_files import Damaged, read_json

FILE = "tags.json"
MOST_TAGS, LONGEST_NOTE = 32, 1000
_TAG = re.compile(r"[^\W_][\w.+:=/@-]{0,63}")
_MAX_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags in the order in which they were given, and the note, one line."""

    tags: tuple[str, ...] = ()
    note: str = ""


def checked(tags: Iterable[str] = (), note: str | None = None) -> Tags:
    """Tags, each once, and a note in one line. Raises NetspecError for what cannot be one."""
    kept, line = tuple(dict.fromkeys(tags)), " ".join((note or "").split())
    for tag in kept:
        if not _TAG.fullmatch(tag):
            remedy = "a tag is a word of at most 64 letters, digits and .+:=/@_-"
            raise NetspecError(f"'{printable(tag)}' cannot be a tag: {remedy}")
    if len(kept) > MOST_TAGS:
        raise NetspecError(f"{len(kept)} tags: a run has at most {MOST_TAGS}")
    if len(line) > LONGEST_NOTE:
        raise NetspecError(f"a note of {len(line):,} characters: it has at most {LONGEST_NOTE:,}")
    if printable(line) != line:
        raise NetspecError("a note cannot have control characters")
    return Tags(kept, line)


def read_tags(folder: Path) -> Tags:
    """The tags and the note of a run directory; none where it has no such file. Raises Damaged."""
    path = folder / FILE
    try:
        data = read_json(path, _MAX_BYTES)
    except FileNotFoundError:
        return Tags()
    tags, note = data.get("tags", []), data.get("note", "")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags) or not isinstance(note, str):
        raise Damaged(path, "is not a list of tags and a note")
    try:
        return checked(tags, note)
    except NetspecError as error:
        raise Damaged(path, str(error)) from error


def tag(folder: Path, add: Iterable[str] = (), remove: Iterable[str] = (), note: str | None = None) -> Tags:
    """Give a run directory tags and take others from it; ``note`` replaces its note, "" removes it.

    Raises NetspecError where a tag or the note cannot be one, and where the disk will not take it; then nothing is
    changed. The file is replaced as a whole: what is tagged while it trains goes on.
    """
    old, out = read_tags(folder), set(remove)
    kept = [one for one in (*old.tags, *add) if one not in out]
    new = checked(kept, old.note if note is None else note)
    if new != old:
        write_text(folder / FILE, json.dumps(asdict(new), ensure_ascii=False) + "\n")
    return new
