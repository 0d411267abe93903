"""Features as NumPy's .npz or Parquet, written as they come: the file is whole or absent, memory holds one batch.

| in a .npz, read without pickle | column in Parquet | is |
|---|---|---|
| `features` float32 (N, ...) | `features`, a list of float32 | the layer's activations, channels last |
| `index` int64 (N,) | `index` | the image's place in the set |
| `names` | `image` | its name |
| `labels` int32 (N,) | `label` | its class: a number, or in Parquet a name; missing where there are no classes |
| `classes` | in the metadata | the names of the classes |
| `layer` | in the metadata | what was read |
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netspec.evaluation.table_files import PARQUET, arrow, vectors
from netspec.machine.atomic_files import replacing

ENDINGS = (".npz", PARQUET)

Add = Callable[[NDArray[np.int64], NDArray[np.float32]], object]
"""Takes the places of some images in the set, and their features."""


@contextlib.contextmanager
def writing(
    path: Path, layer: str, labels: NDArray[np.int32], classes: Sequence[str], name: Callable[[int], str]
) -> Iterator[Add]:
    """Gives what takes features a batch at a time; the file has its name when the block has ended.

    ``labels`` and ``name`` are those of the whole set. Raises NetspecError when the disk will not take it.
    """
    write = _parquet if path.suffix == PARQUET else _npz
    with replacing(path) as aside, write(aside, layer, labels, classes, name) as add:
        yield add


@contextlib.contextmanager
def _npz(
    path: Path, layer: str, labels: NDArray[np.int32], classes: Sequence[str], name: Callable[[int], str]
) -> Iterator[Add]:
    """Rows go to a nameless file first, since an array's shape stands before it, and broken images are not in it."""
    places: list[NDArray[np.int64]] = []
    shape: list[tuple[int, ...]] = []
    with tempfile.TemporaryFile(dir=path.parent) as rows:

        def add(indices: NDArray[np.int64], values: NDArray[np.float32]) -> None:
            places.append(indices)
            shape[:] = [values.shape[1:]]
            rows.write(np.ascontiguousarray(values, "<f4").data)

        yield add
        index = np.concatenate(places)
        names = np.array([name(int(place)) for place in index])
        labelled = {"labels": labels[index], "classes": np.array(classes)} if classes else {}
        arrays = {"index": index, "names": names, **labelled}
        with zipfile.ZipFile(path, "w") as file:
            with file.open("features.npy", "w", force_zip64=True) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(index), *shape[0])}
                np.lib.format.write_array_header_1_0(member, header)
                rows.seek(0)
                shutil.copyfileobj(rows, member, 2**20)
            for key, array in {**arrays, "layer": np.array(layer)}.items():
                with file.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


@contextlib.contextmanager
def _parquet(
    path: Path, layer: str, labels: NDArray[np.int32], classes: Sequence[str], name: Callable[[int], str]
) -> Iterator[Add]:
    pa, writers = arrow(), list[Any]()

    def add(indices: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        columns = {
            "index": pa.array(indices),
            "image": pa.array([name(int(place)) for place in indices]),
            **({"label": pa.array([classes[number] for number in labels[indices]])} if classes else {}),
            "features": vectors(pa, values.reshape(len(values), -1)),
        }
        about = {"layer": layer, "shape": values.shape[1:], "classes": list(classes)}
        table = pa.table(columns, metadata={"netspec": json.dumps(about)})
        if not writers:
            writers.append(pa.parquet.ParquetWriter(path, table.schema))
        writers[0].write_table(table)

    with contextlib.ExitStack() as closing:
        closing.callback(lambda: [writer.close() for writer in writers])
        yield add
