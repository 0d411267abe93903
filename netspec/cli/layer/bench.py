"""``netspec layers bench``: a layer's time on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins
from netspec.cli.layer import _inputs as inputs
from netspec.units import milliseconds, percent, throughput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netspec.contract.kernel import Backend
    from netspec.report.tables import Table
    from netspec.runners.layer_bench import Timed
    from netspec.spec.types import Precision


@click.command()
@click.argument("kind", metavar="TYPE|FILE")
@click.option(
    "--input",
    "given",
    metavar="SHAPE",
    multiple=True,
    required=True,
    help="The input's shape, such as 128x27x27x256, batch first and channels last; once for each input, or once for "
    "all of them.",
)
@inputs.attributes
@click.option(
    "--backend",
    "backends",
    type=click.Choice(["cpu", "cuda"]),
    multiple=True,
    default=["cpu", "cuda"],
    help="Where; by default on a CPU and on a GPU, if there is one.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bf16"]),
    default="tf32",
    help="As train.precision in a spec; with bf16 in memory there is no time of PyTorch's.",
)
@options.plugins
@options.as_json
def command(
    kind: str,
    given: tuple[str, ...],
    assignments: tuple[str, ...],
    backends: Sequence[Backend],
    precision: Precision,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Time a layer, forward and backward, with each variant of its kernels, of which a run takes the first.

    The bound is that of the roofline: the layer's tensors, each read or written once, at the rate of a large copy, or
    its operations at that of a large matrix product, whichever takes longer. A share above 100 % comes of caches, or of
    algorithms with fewer operations.

    Where PyTorch is installed and the layer has a form there (its method torch), that is timed too.

    \b
    Examples:
      netspec layers bench lrn --input 128x27x27x96
      netspec layers bench conv --input 16x27x27x96 \\
          --set filters=256 --set size=5 --set pad=2
      netspec layers bench conv --input 128x13x13x256 \\
          --set filters=384 --set size=3 --set pad=1 --precision bf16
      netspec layers bench my_layer.py --input 128x27x27x256 --backend cpu
    """
    from netspec.check.subject import input_tensor
    from netspec.registry import layer_types
    from netspec.report.progress import shown
    from netspec.runners.layer_bench import bench
    from netspec.spec.layer_attributes import set_attributes

    load_plugins(plugins)
    name = inputs.only_layer(kind)
    shapes = inputs.completed(name, [inputs.shape_of(text) for text in given])
    names = layer_types()[name].input_names(len(shapes))
    tensors = [input_tensor(one, shape) for one, shape in zip(names, shapes, strict=True)]
    attributes = set_attributes(name, assignments)
    with shown():
        found = bench(name, attributes, tensors, list(dict.fromkeys(backends)), precision)
    if as_json:
        rows = [{**asdict(row), "share": row.share} for row in found.rows]
        shown_as = {one: list(shape) for one, shape in zip(names, shapes, strict=True)}
        emit_json({"type": name, "attributes": attributes, "inputs": shown_as, "times": rows, "notes": found.notes})
        return
    from netspec.report.tables import show

    if found.rows:
        show(_table(found.rows))
    for note in found.notes:
        click.echo(note)


def _table(rows: Sequence[Timed]) -> Table:
    from netspec.report.tables import table

    cells = [
        (
            row.backend,
            row.direction,
            row.variant,
            milliseconds(row.milliseconds),
            milliseconds(row.least_ms),
            percent(row.share, 0),
            throughput(row.nbytes / row.milliseconds * 1e3),
            milliseconds(row.torch_ms) if row.torch_ms is not None else "",
            f"{row.torch_ms / row.milliseconds:.2f}" if row.torch_ms is not None else "",
        )
        for row in rows
    ]
    columns = ["", "direction", "kernels", "time", "bound", "of it", "moves", "PyTorch", "speed-up"]
    shown = len(columns) - (2 if all(row.torch_ms is None for row in rows) else 0)
    return table(columns[:shown], [one[:shown] for one in cells], right=columns[3:shown], drop=["moves"])
