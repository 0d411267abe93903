"""``netspec layers try``: one layer on an array."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins
from netspec.cli.layer import _inputs as inputs
from netspec.errors import printable
from netspec.units import many

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from netspec._layer import LayerResult
    from netspec.contract.kernel import Backend, Phase
    from netspec.report.tables import Table

    Array = inputs.Array

_FIRST = 4
"""Elements of an array that are shown."""


@click.command()
@click.argument("kind", metavar="TYPE|FILE")
@click.option(
    "--input",
    "given",
    metavar="FILE|SHAPE",
    multiple=True,
    required=True,
    help="A .npy file, batch first and channels last, or a shape such as 2x5x6x4, for normally "
    "distributed numbers; once for each input.",
)
@inputs.attributes
@click.option(
    "--phase",
    type=click.Choice(["train", "eval", "predict"]),
    default="train",
    show_default=True,
    help="In train there are gradients.",
)
@click.option("--backend", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Whose kernels.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Decides how weights begin.")
@click.option("--out", "-o", metavar="FILE", type=click.Path(path_type=Path), help="Write all arrays there.")
@options.plugins
@options.as_json
def command(
    kind: str,
    given: tuple[str, ...],
    assignments: tuple[str, ...],
    phase: Phase,
    backend: Backend,
    seed: int,
    out: Path | None,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run one layer on an array, forward and backward, and tell of what comes out: shapes, ranges, first numbers.

    Weights are drawn by the layer's initialisers. Gradients are those of the sum of the outputs; a cost layer's are
    those of its loss.

    \b
    Examples:
      netspec layers try gelu --input 2x5x6x4
      netspec layers try my_layer.py --input array.npy --set sharpness=2
      netspec layers try softmax_loss --input scores.npy --input labels.npy \\
          -o results.npz
    """
    from netspec._layer import LoneLayer
    from netspec.spec.layer_attributes import set_attributes

    load_plugins(plugins)
    name = inputs.only_layer(kind)
    layer = LoneLayer(name, set_attributes(name, assignments), phase, backend, seed)
    result = layer(*inputs.arrays(name, given, phase))
    gradients, note = _gradients(result) if phase == "train" else ({}, "")
    found = list(_named(result, gradients))
    if out is not None:
        _write(out, {key: array for _, key, array in found})
    rows = [_row(*one) for one in found]
    if as_json:
        emit_json({"type": name, "attributes": layer.attrs, "arrays": rows, "note": note or None, "written": out})
        return
    from netspec.report.tables import show

    show(_table(rows))
    if note:
        click.echo(f"no gradients: {note}")
    for row in rows:
        if row["not_finite"]:
            click.echo(f"{row['name']}: {many(row['not_finite'], 'element')} NaN or infinite")
    if out is not None:
        click.echo(f"written: {printable(out)}")


def _gradients(result: LayerResult) -> tuple[dict[str, Array], str]:
    """The gradients; none, and why, where the layer has no backward pass yet."""
    from netspec._layer import NoKernels

    try:
        return result.gradients(), ""
    except NoKernels as reason:
        return {}, str(reason)


def _named(result: LayerResult, gradients: Mapping[str, Array]) -> Iterator[tuple[str, str, Array]]:
    """Role, name and values of each array; names are those that kernels have, and so no two are the same."""
    groups = {"input": result.inputs, "parameter": result.params, "state": result.state, "output": result.outputs}
    groups["next state"] = {f"next_{name}": array for name, array in result.next_state.items()}
    groups["gradient"] = {f"d_{name}": array for name, array in gradients.items()}
    for role, arrays in groups.items():
        yield from ((role, name, array) for name, array in arrays.items())


def _row(role: str, name: str, array: Array) -> dict[str, Any]:
    """What an array holds, in a few numbers; those of finite elements."""
    import numpy as np

    finite = array[np.isfinite(array)]
    ends: dict[str, float | None] = dict.fromkeys(("min", "mean", "max"))
    if finite.size:
        ends = {"min": float(finite.min()), "mean": float(finite.mean(dtype=np.float64)), "max": float(finite.max())}
    return {
        "role": role,
        "name": name,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        **ends,
        "first": [float(value) if np.isfinite(value) else None for value in array.flat[:_FIRST]],
        "not_finite": int(array.size - finite.size),
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    from netspec.report.tables import table

    cells = [
        (
            row["role"],
            row["name"],
            "x".join(map(str, row["shape"])),
            *(_number(row[end]) for end in ("min", "mean", "max")),
            "  ".join(map(_number, row["first"])),
        )
        for row in rows
    ]
    columns = ["", "array", "shape", "min", "mean", "max", "begins with"]
    return table(columns, cells, right=["min", "mean", "max"], drop=["begins with"])


def _number(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.4g}"


def _write(out: Path, found: Mapping[str, Array]) -> None:
    import io

    import numpy as np

    from netspec.machine.atomic_files import write_whole

    held = io.BytesIO()
    arrays: dict[str, Any] = dict(found)
    np.savez(held, **arrays)
    write_whole(out, [held.getbuffer()])
