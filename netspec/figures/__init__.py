"""Pictures of networks and runs, for a paper: one file is one kind, found by its file name. Drawn by matplotlib.

A kind reads what it shows into plain data, of which tests and ``--json`` see the numbers, and draws that data. What all
pictures share (sizes, fonts, colours, how a file is written) is in ``_style``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netspec.contract.values import fits
from netspec.errors import NetspecError, printable
from netspec.figures._base import Kind
from netspec.registry import Registry
from netspec.report.run_labels import Tell

__all__ = ["FORMATS", "Kind", "Picture", "figure_kinds", "picture"]

FORMATS = ("svg", "png", "pdf")
"""By the ending of the file."""


_registry = Registry("figures", Kind, __name__, "kind of figure")  # type: ignore[type-abstract]


def figure_kinds() -> Mapping[str, type[Kind]]:
    """All kinds of pictures by name."""
    return _registry.types()


@dataclass(frozen=True, slots=True)
class Picture:
    """What a kind has read of some runs, ready to be drawn."""

    kind: Kind
    data: Any

    @property
    def numbers(self) -> Any:
        """What it shows, as plain data."""
        return self.kind.numbers(self.data)

    @property
    def lines(self) -> list[str]:
        """What it shows, in a few lines for people."""
        return self.kind.lines(self.data)

    def render(self, format: str = "svg") -> bytes:
        """The file's bytes: the same ones for the same runs. Raises NetspecError without matplotlib."""
        return self.kind.render(self.data, format)


def picture(
    kind: str, of: Sequence[str | Path], labels: Sequence[str] = (), *, tell: Tell = lambda line: None, **settings: Any
) -> Picture:
    """Read what a kind shows of runs (or of specs or traces, see the kind).

    ``labels`` names them in the picture, one each; ``tell`` hears lines for people; ``settings`` are the kind's
    ``attrs``. Raises NetspecError for whatever a user can mend.
    """
    kinds = figure_kinds()
    if kind not in kinds:
        raise NetspecError(f"no such kind of figure: '{kind}' (there are {', '.join(kinds)})")
    cls, paths = kinds[kind], [Path(path) for path in of]
    for name, value in settings.items():
        if name not in cls.attrs or not fits(cls.attrs[name], value):
            known = ", ".join(cls.attrs) or "none"
            raise NetspecError(f"figure {kind}: {name}={value!r} is no setting of it (settings: {known})")
    if not paths or (cls.most is not None and len(paths) > cls.most):
        raise NetspecError(f"figure {kind} shows {cls.counted()}; {len(paths)} given")
    if labels and len(labels) != len(paths):
        raise NetspecError(f"{len(labels)} labels for {len(paths)} of {cls.takes}: one each, in their order")
    made = cls(settings)
    return Picture(made, made.read(paths, list(map(printable, labels)), tell))
