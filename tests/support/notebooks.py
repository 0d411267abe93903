"""The notebooks of docs/notebooks, executed: ``python tests/support/notebooks.py`` renews what is kept of them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def executed(path: Path, folder: Path) -> Any:
    """The notebook with the outputs of a run in that folder, and nothing of when and where that was."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
    book.metadata["language_info"] = {"name": "python"}
    return book


def main(paths: list[str]) -> None:
    """Execute the notebooks that are named, or all; each in an empty folder, to be written where it lies."""
    for path in map(Path, paths or sorted(map(str, FOLDER.glob("*.ipynb")))):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
