"""What a run says about its data."""

from __future__ import annotations

from netspec.data.listing import LAYOUTS
from netspec.data.source import Source
from netspec.errors import NetspecError


def describe(source: Source) -> str:
    """One line: how many images of how many classes, and from where."""
    validation = f"{len(source.val):,} validation" if source.val else "no validation"
    classes = f"{len(source.classes):,} class" + "es" * (len(source.classes) != 1)
    counts = f"{len(source.train):,} training and {validation} images of {classes}"
    if source.type == "generated":
        return f"{counts}, drawn by the program; real ones: --data DIR ({LAYOUTS})"
    return f"{counts} from {source.where} ({source.type})"


def check_classes(source: Source, outputs: int) -> str | None:
    """A note where the network has more outputs than there are classes; raises NetspecError where it has fewer."""
    classes = len(source.classes)
    if classes > outputs:
        raise NetspecError(
            f"the data has {classes:,} classes, but the network has {outputs:,} outputs; "
            f"give its last layer {classes:,} units, or leave classes out of {source.where}"
        )
    if classes < outputs:
        return f"{classes:,} classes for {outputs:,} outputs: outputs {classes} to {outputs - 1} are never the answer"
    return None
