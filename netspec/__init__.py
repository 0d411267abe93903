"""netspec: networks split over two devices, written down as a YAML spec and run from Python kernels."""

from __future__ import annotations

from netspec import _layout

__version__ = "0.1.0"

_layout.install()
