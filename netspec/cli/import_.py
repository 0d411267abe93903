"""``netspec import``: a network of another program as a checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from netspec.cli import _options as options
from netspec.cli import _specs as specs
from netspec.cli._output import emit_json
from netspec.errors import printable
from netspec.exchange.formats import IMAGENET
from netspec.units import many


class _Levels(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in new versions of click alone
    """Numbers by commas: one for each channel, or one for all; ``imagenet`` stands for ILSVRC's."""

    name = "levels"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers."""
        if value == "imagenet" and param is not None and param.name is not None:
            return IMAGENET[param.name]
        try:
            return tuple(map(float, value.split(",")))
        except ValueError:
            self.fail(f"'{printable(value)}' is neither numbers by commas nor imagenet", param, ctx)


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="FILE", required=True, type=click.Path(path_type=Path), help="FILE.safetensors.")
@click.option("--spec", metavar="SPEC", help="The network, where FILE has tensors only.")
@click.option("--map", "map_file", metavar="FILE", type=click.Path(path_type=Path), help="YAML: here: there.")
@click.option("--mean", metavar="LEVELS", type=_Levels(), help="What was subtracted from its images, from 0 to 255.")
@click.option("--std", metavar="LEVELS", type=_Levels(), help="What they were then divided by.")
@click.option("--weights", metavar="FILE", type=click.Path(path_type=Path), help="Caffe's: the .caffemodel.")
@click.option("--mean-image", metavar="FILE", type=click.Path(path_type=Path), help="Caffe's: the .binaryproto.")
@click.option("--devices", metavar="NAMES", help="ONNX: cut it over these, as left,right; a proposal.")
@click.option("--output", metavar="NAME", help="ONNX: which output, where it has several.")
@click.option("--cost", metavar="TYPE", help="ONNX: the cost layer behind it: softmax_loss, mse or none.")
@click.option("--classes", metavar="FILE", type=click.Path(path_type=Path), help="Names of classes, one a line.")
@options.overrides
@options.plugins
@options.as_json
def command(
    file: Path,
    out: Path,
    spec: str | None,
    map_file: Path | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    weights: Path | None,
    mean_image: Path | None,
    devices: str | None,
    output: str | None,
    cost: str | None,
    classes: Path | None,
    overrides: tuple[str, ...],
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a checkpoint of a network that another program trained.

    What FILE is its ending says. An ONNX model, or a network of Caffe, becomes a spec beside the checkpoint too; where
    one of its nodes or layers has no layer here, the error names it. The checkpoint is what predict, eval, features,
    export and run --init-from take.

    \b
    Examples:
      netspec import alexnet.pth --spec alexnet-torchvision \\
          --mean imagenet --std imagenet -o alexnet.safetensors
      netspec import deploy.prototxt --weights alexnet.caffemodel \\
          --mean-image mean.binaryproto -o alexnet.safetensors
      netspec import net.onnx -o net.safetensors --devices left,right
      netspec predict alexnet.safetensors photo.jpg
    """
    from netspec.exchange.formats import Asked
    from netspec.runners.importing import import_network

    if overrides and spec is None:
        raise click.UsageError("--set changes the spec of --spec, which is missing")
    specs.load_plugins(plugins)
    network = specs.load(spec, overrides) if spec is not None else None
    names = tuple(name.strip() for name in devices.split(",")) if devices is not None else None
    asked = Asked(network, map_file, mean, std, weights, mean_image, names, output, cost)
    done = import_network(file, out, asked, classes)
    if as_json:
        emit_json(done._asdict())
        return
    for here, there in done.taken.items():
        click.echo(f"{here} <- {there}" if here != there else here)
    if done.left:
        click.echo(f"left: {', '.join(map(printable, done.left))}")
    for note in done.notes:
        click.echo(note)
    beside = f", spec in {done.spec}" if done.spec else ""
    click.echo(f"{out}: {many(done.parameters, 'parameter')}{beside}")
