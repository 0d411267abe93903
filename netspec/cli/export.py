"""``netspec export``: a trained network as a file of other programs."""

from __future__ import annotations

from pathlib import Path

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run
from netspec.units import many, size


@click.command()
@click.argument("run", metavar="RUN")
@click.option("-o", "--out", metavar="FILE", required=True, help="FILE.onnx, or FILE.safetensors for PyTorch.")
@click.option("--format", type=click.Choice(["onnx", "torch"]), help="By default what FILE's ending says.")
@options.plugins
@options.trust
@options.as_json
def command(run: str, out: str, format: str | None, plugins: tuple[str, ...], as_json: bool) -> None:
    """Write a trained network as an ONNX model, or as a module of PyTorch with its state dict.

    Parts on several devices become one layer, and crossings are gone. The input is a batch of any size of uint8 images
    (N, height, width, channels) as they are after resizing and cropping: the mean image and the scale are in the model.
    The output has the probabilities (N, classes), or what a network of numbers predicts. Names of classes and how
    images are resized and cropped are in its metadata, as JSON. For PyTorch, images are (N, channels, height, width),
    and FILE.py beside the state dict builds the network.

    \b
    Examples:
      netspec export runs/alexnet/2026-01-31_12-00-00 -o alexnet.onnx
      netspec export runs/alexnet/2026-01-31_12-00-00 --format torch \\
          -o alexnet.safetensors
      netspec export checkpoints/iteration-00000090.safetensors -o net.onnx
    """
    from netspec.report.progress import progress
    from netspec.runners.export import export_network

    with progress(stderr=as_json) as listener:
        done = export_network(Path(newest_run(run, trained=True)), Path(out), plugins, listener, format)
    if as_json:
        emit_json(done._asdict())
        return
    if done.module is None:
        click.echo(f"{out}: {many(done.nodes, 'node')}, {size(done.bytes)}, from {done.checkpoint}")
    else:
        click.echo(f"{out}: {size(done.bytes)}, from {done.checkpoint}; {done.module} builds the network")
