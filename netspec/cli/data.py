"""``netspec data``: prepare a set of images, take its statistics, look at it."""

from __future__ import annotations

import click

from netspec.cli._group import LazyGroup

COMMANDS = {
    "Commands": {
        "prepare": "Turn images as they are given out into shards to train from.",
        "stats": "Mean image and colour covariance of a set.",
        "show": "Draw a contact sheet of what training sees.",
    }
}


@click.group(cls=LazyGroup, package="netspec.cli.dataset", table=COMMANDS)
def command() -> None:
    """Images to train from: ILSVRC's archives, class folders, CIFAR as distributed.

    \b
    Examples:
      netspec data prepare imagenet/ prepared/
      netspec data stats prepared/
      netspec data show alexnet --data prepared/
      netspec run alexnet --data prepared/
    """
