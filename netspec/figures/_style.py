"""How all figures look: sizes, fonts and colours for print; and how they are written, to the same bytes each time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netspec.errors import NetspecError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SINGLE, DOUBLE = 3.3, 6.9
"""Inches: a column of a two-column page, and both."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette without its yellow: told apart by colour-blind readers too."""
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
"""Told apart in grey print."""
INK, SOFT, FAINT = "#222222", "#6b6b6b", "#d9d9d9"
SMALL = 6.0
"""The smallest text, in points."""

_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same widths on any machine
    "font.size": 7,
    "text.parse_math": False,  # a dollar in the name of a class is a dollar
    "text.color": INK,
    "axes.titlesize": 7,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "hatch.linewidth": 0.5,
    "savefig.dpi": 300,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "netspec",
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
_METADATA: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None, "Creator": "netspec"},
    "png": {"Software": "netspec"},
    "pdf": {"CreationDate": None, "Creator": "netspec", "Producer": None},
}

_SAVED: Mapping[str, Mapping[str, Any]] = {"jpeg": {"dpi": 200, "pil_kwargs": {"quality": 85}}}
"""How pages embed what is made of photographs: enough for a screen, a small part of the size of SVG or PNG."""


def check_installed() -> None:
    """Raise NetspecError, with what to type, where matplotlib is missing."""
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise NetspecError("figures are drawn by matplotlib: pip install 'netspec[figures]'") from error


def render(draw: Callable[[], Figure], format: str) -> bytes:
    """What ``draw`` makes in this style, as a file of that format; no setting of the user's takes part."""
    check_installed()
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # SVG keeps the text, of which a viewer has the signs
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        draw().savefig(file, format=format, metadata=_METADATA.get(format), **_SAVED.get(format, {}))
    return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty page of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def percent_axis(axis: Any) -> None:
    """Shares in [0, 1] written as per cent."""
    axis.set_major_formatter(lambda value, place: f"{100 * value:.6g} %")


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str], width: float) -> None:
    """One legend for the page, below all axes, in as many columns as the longest label leaves room for."""
    columns = _columns(labels, width)
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, borderaxespad=0.2)


def legend_height(labels: Sequence[str], width: float) -> float:
    """Inches that the legend takes."""
    return 0.12 + 0.125 * -(-len(labels) // _columns(labels, width))


def _columns(labels: Sequence[str], width: float) -> int:
    longest = max(map(len, labels), default=1)
    return max(1, min(len(labels), int(width / (0.37 + 0.052 * longest))))


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and end around an ellipsis where it is longer than that."""
    if len(text) <= most:
        return text
    kept = most - 1
    return f"{text[: kept - kept // 3]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - kept // 3 :]}"


def ink_on(colour: str) -> str:
    """Black or white, whichever can be read on the colour (luma of ITU-R 601)."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else INK


def bare(axes: Axes) -> None:
    """No ticks, no spines: for images."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
