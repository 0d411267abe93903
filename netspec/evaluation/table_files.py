"""Files of results: what their endings mean, and whether they can be written at all."""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError, printable

PARQUET = ".parquet"


def check_file(path: Path, endings: Collection[str]) -> None:
    """Raise NetspecError for a file that could not be written in the end, before the work that it is to hold."""
    if path.suffix not in endings:
        raise NetspecError(f"{printable(path)}: the name must end in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise NetspecError(f"{printable(path)}: there is no folder {printable(path.parent)}")
    if not os.access(path.parent, os.W_OK):
        raise NetspecError(f"{printable(path)}: no file may be written to {printable(path.parent)}")
    if path.is_dir():
        raise NetspecError(f"{printable(path)}: is a directory, not a file")
    if path.suffix == PARQUET:
        arrow()


def arrow() -> Any:
    """The module pyarrow; NetspecError where it is not installed."""
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        remedy = "pip install 'netspec[parquet]'"
        raise NetspecError(f"Parquet files need pyarrow, which cannot be imported ({error}): {remedy}") from error


def vectors(arrow: Any, rows: Any) -> Any:
    """Rows of float32 (N, K) as a column of lists of K numbers."""
    return arrow.FixedSizeListArray.from_arrays(arrow.array(rows.reshape(-1)), rows.shape[1])
