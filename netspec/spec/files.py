"""Finding and reading spec files: by path, or a shipped one by its bare name."""

from __future__ import annotations

from pathlib import Path

from netspec._paths import specs_folder
from netspec.errors import Mark, NoSuchFile, Problem, SpecError
from netspec.machine.regular_files import read_regular
from netspec.spec.wording import did_you_mean

MAX_BYTES = 4 * 2**20


def shipped() -> dict[str, Path]:
    """The specs that come with netspec, by name."""
    return {path.stem: path for path in sorted(specs_folder().glob("*.yaml"))}


def find(name: str, folder: Path = Path()) -> Path:
    """The file of that path, relative to ``folder``, or the shipped spec of that name.

    Raises NetspecError with one line where there is none.
    """
    path = folder / name
    if name and _exists(path) and not (path.is_dir() and name in shipped()):
        return path
    known = shipped()
    stem = name.removesuffix(".yaml")
    if stem in known:
        return _nearer(known[stem])
    here = [file.name for file in sorted(path.parent.glob("*.yaml"))] if _exists(path.parent) else []
    guess = did_you_mean(Path(name).name, [*here, *known])
    remedy = f" ({guess})" if guess else " (netspec specs lists the shipped ones)"
    raise NoSuchFile(f"{path if name and name.isprintable() else repr(name)}: no such file{remedy}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a null character
        return False


def _nearer(path: Path) -> Path:
    """The path as seen from the working directory, where that is shorter to read."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):
        return path


def read(path: Path) -> str:
    """The text of a spec file.

    Raises NetspecError where it is no regular file or cannot be read, SpecError where it is not UTF-8.
    """
    return decode(read_regular(path, MAX_BYTES), str(path))


def decode(data: bytes, file: str) -> str:
    """The bytes as text; SpecError with the place of the first byte that is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace").split("\n")
        line = data.decode("latin-1").split("\n")[len(before) - 1]
        mark = Mark(file, len(before), len(before[-1]) + 1, line)
        message = f"not UTF-8: byte 0x{data[error.start]:02x}"
        raise SpecError([Problem(mark, message, "save the file as UTF-8")]) from error
