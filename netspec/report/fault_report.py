"""What belongs into a bug report: versions, this machine, a run's spec and the end of its log, without names.

Paths, user, host and class names are replaced by what they are: ``<path>``, ``<user>``, ``<host>``, ``<class 3>``.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from netspec._version import __version__
from netspec.errors import NetspecError
from netspec.report.health import Finding
from netspec.rundir.directory import BROKEN, CLASSES, ENVIRONMENT, LOG, START
from netspec.rundir.run_files import Damaged, read_json, read_text

T = TypeVar("T")

_LAST = 60
"""Lines of the log."""
_SHORTEST = 2
"""Characters of a name: of shorter ones there is no telling."""
_PRIVATE = ("folder", "command")
_NAMES_FILES = ("path", "init_from", "file", "folder")
_PATH = re.compile(r"(?<![\w.<])(?:~|\.{1,2})?[^\s:'\"(),;\[\]{}<>=|]*/[^\s'\"(),;\[\]{}<>|]+")
_SUFFIX = r"\.(?:bmp|gif|jpe?g|png|ppm|tiff?|webp|tar|npy)\b"
_IMAGE = re.compile(rf"(?i)(?:(?<=: )|(?<=['\"(]))[^:\n'\"(]*?{_SUFFIX}")
_FILE = re.compile(rf"(?i)[^\s'\"(]+{_SUFFIX}")
"""Names of files: with blanks after a colon or a quote, which is how messages have them, else single words."""
_RATIO = re.compile(r"[\d,.]+/[\d,.]+|(?:img|[KMGT]?i?B|[KMGT]?FLOP)/s")
"""What has a slash and is no path."""
_ADDRESS = re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b")


def fault_report(findings: Iterable[Finding], run: Path | None) -> str:
    """The report as Markdown. Raises NetspecError where ``run`` is no run's folder."""
    files = None if run is None else _Files(run)
    secrets = _secrets(files)
    parts = [f"netspec {__version__}", *(_line(one) for one in findings)]
    sections = [("Machine", "\n".join(parts))]
    if files is not None:
        sections += [*_of_run(files), *_damaged(files)]
    return "\n\n".join(f"## {title}\n\n```\n{without_names(text, secrets)}\n```" for title, text in sections) + "\n"


def _line(one: Finding) -> str:
    return f"{one.status:<6}  {one.name}: {one.text}"


class _Files:
    """A run's files, as far as they can be read: a report of a damaged run is wanted too.

    ``record`` is what the run wrote down when it began, ``damaged`` what is wrong with files, by their names. Raises
    NetspecError where there is no record.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.damaged: dict[str, Damaged] = {}
        if not os.path.lexists(run / START):
            raise NetspecError(f"{run}: no run's folder: it has no {START}")
        self.record = self._read(read_json, START) or {}
        self.environment = self._read(read_json, ENVIRONMENT) or {}

    def lines(self, name: str) -> list[str]:
        """The lines of a file; none where it is not there."""
        return (self._read(read_text, name) or "").splitlines()

    def _read(self, how: Callable[[Path], T], name: str) -> T | None:
        try:
            return how(self.run / name)
        except FileNotFoundError:
            return None
        except Damaged as error:
            self.damaged[name] = error
            return None


def _of_run(files: _Files) -> Iterator[tuple[str, str]]:
    import yaml

    if spec := files.record.get("spec"):
        yield "Spec", yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=110).rstrip()
    if kept := {name: value for name, value in files.environment.items() if name not in _PRIVATE}:
        yield "Environment of the run", "\n".join(f"{name}: {value}" for name, value in kept.items())
    if log := files.lines(LOG):
        yield f"Log, its last {_LAST} lines", "\n".join(log[-_LAST:])


def _damaged(files: _Files) -> Iterator[tuple[str, str]]:
    if files.damaged:
        remark = "names that these files have may stand above: read it before you send it"
        told = [f"{name}: {error.reason}" for name, error in files.damaged.items()]
        yield "Damaged files of the run", "\n".join([*told, remark])


def without_names(text: str, secrets: Mapping[str, str]) -> str:
    """The text with each secret, longest first, replaced by what stands for it, and all else that looks like a path."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", secrets[secret], text, flags=re.IGNORECASE)
    for pattern in (_IMAGE, _FILE):
        text = pattern.sub("<path>", text)
    text = _PATH.sub(lambda found: found[0] if _RATIO.fullmatch(found[0].rstrip(".:")) else "<path>", text)
    return re.sub("(?:<path>){2,}", "<path>", _ADDRESS.sub("<address>", text))


def _secrets(files: _Files | None) -> dict[str, str]:
    """What is known to be private, and what stands for it."""
    found = {str(folder): "<path>" for folder in (Path.home(), Path.cwd()) if str(folder) != "/"}
    host = socket.gethostname()
    found |= dict.fromkeys((host, host.partition(".")[0]), "<host>") | {_user(): "<user>"}
    if files is not None:
        found |= {name: f"<class {number}>" for number, name in enumerate(files.lines(CLASSES))}
        found |= {line.partition(": ")[0]: "<path>" for line in files.lines(BROKEN)}
        found |= _words(files.record) | dict.fromkeys(_paths(files.record.get("spec")), "<path>")
        found |= dict.fromkeys((str(files.run), str(files.run.resolve())), "<run>")
    return {secret: place for secret, place in found.items() if len(secret) >= _SHORTEST}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a process without a name, as in some containers
        return ""


def _words(record: Mapping[str, Any]) -> dict[str, str]:
    """What classes are called in words, where the run says."""
    words = record.get("words")
    return {str(told): "<words>" for told in words.values()} if isinstance(words, dict) else {}


def _paths(value: Any, key: str = "") -> Iterator[str]:
    """All texts of a spec that are paths, with the names they end in, whatever signs are in them."""
    if isinstance(value, str) and ("/" in value or key in _NAMES_FILES):
        yield from (value, Path(value).name)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, key)
