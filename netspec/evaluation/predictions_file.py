"""Predictions as CSV or Parquet: a row an image, written so that the file is whole or absent.

| column | is |
|---|---|
| `index` | the image's place in the set; those that could not be read are missing |
| `image`, `label` | its name and its class |
| `rank` | of the label, 1 for the likeliest; of equal probabilities the label comes last |
| `loss` | -log of the label's probability |
| `class_1`, `probability_1` ... | the likeliest classes, best first |
| `target_1`, `prediction_1` ... | of networks that predict numbers, in place of all but the first two |
| `probabilities` (Parquet) or a column `p:CLASS` a class (CSV) | all probabilities, where they are asked for |
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from netspec._types import Prediction
from netspec.evaluation.evaluation_result import Evaluation
from netspec.evaluation.image_results import ImageResults
from netspec.evaluation.number_results import NumberResults
from netspec.evaluation.table_files import PARQUET, arrow, vectors
from netspec.machine.atomic_files import replacing, write_whole
from netspec.machine.names import ESCAPED

ENDINGS = (".csv", PARQUET)

_AT_ONCE = 1000

Results = ImageResults | NumberResults


def write_predictions(path: Path, done: Evaluation) -> None:
    """Write the images of an evaluation; the file's ending says how. Raises NetspecError where that cannot be."""
    results = done.results or done.numbers
    if results is None:
        raise ValueError(f"{done.run} gives no class probabilities")
    if path.suffix == PARQUET:
        _write_parquet(path, done, results)
    else:
        write_whole(path, _csv(done, results))


def predictions_csv(predictions: Sequence[Prediction]) -> str:
    """What was seen in single images, a row an image: ``image``, ``class_1``, ``probability_1`` ... and ``error``; of
    networks that predict numbers ``prediction_1`` ... in place of classes.
    """
    cells = [one.numbers or [cell for pair in one.top for cell in pair] for one in predictions]
    width = max(map(len, cells), default=0)
    names = ("prediction",) if any(one.numbers for one in predictions) else ("class", "probability")
    named = [f"{name}_{place + 1}" for place in range(width // len(names)) for name in names]
    rows = [
        [one.path, *seen, *[""] * (width - len(seen)), one.error or ""]
        for one, seen in zip(predictions, cells, strict=True)
    ]
    return _lines([["image", *named, "error"], *rows]).decode()


def _columns(done: Evaluation, results: Results, some: slice) -> dict[str, Any]:
    """The columns of some images, as lists and arrays."""
    if isinstance(results, NumberResults):
        columns: dict[str, Any] = {"index": results.index[some], "image": results.names[some]}
        for place in range(results.target.shape[1]):
            columns[f"target_{place + 1}"] = results.target[some, place]
            columns[f"prediction_{place + 1}"] = results.prediction[some, place]
        return columns
    columns = {
        "index": results.index[some],
        "image": results.names[some],
        "label": [done.classes[number] for number in results.label[some]],
        "rank": results.rank[some] + 1,
        "loss": results.loss[some],
    }
    for place in range(results.top.shape[1]):
        columns[f"class_{place + 1}"] = [done.classes[number] for number in results.top[some, place]]
        columns[f"probability_{place + 1}"] = results.top_probabilities[some, place]
    return columns


def _pieces(results: Results) -> Iterator[slice]:
    for start in range(0, len(results), _AT_ONCE):
        yield slice(start, start + _AT_ONCE)


def _csv(done: Evaluation, results: Results) -> Iterator[bytes]:
    """The file in pieces, so that no more than one of them is in memory."""
    every = results.probabilities if isinstance(results, ImageResults) else None
    named = [f"p:{name}" for name in done.classes] if every is not None else []
    yield _lines([[*_columns(done, results, slice(0)), *named]])
    for some in _pieces(results):
        rows = list(zip(*_columns(done, results, some).values(), strict=True))
        yield _lines(rows if every is None else [[*row, *more] for row, more in zip(rows, every[some], strict=True)])


def _lines(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", ESCAPED)


def _write_parquet(path: Path, done: Evaluation, results: Results) -> None:
    """As row groups of bounded size; what was evaluated is in the schema's metadata, as JSON."""
    pa = arrow()
    about = {"run": done.run, "networks": [one.run for one in done.networks], "set": done.where, "split": done.split}
    metadata = {"netspec": json.dumps({**about, "views": done.views, "classes": done.classes})}
    with replacing(path) as aside:
        writer = None
        for some in _pieces(results):
            columns = {name: pa.array(values) for name, values in _columns(done, results, some).items()}
            if isinstance(results, ImageResults) and results.probabilities is not None:
                columns["probabilities"] = vectors(pa, results.probabilities[some])
            table = pa.table(columns, metadata=metadata)
            writer = writer or pa.parquet.ParquetWriter(aside, table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()
