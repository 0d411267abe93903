"""The share of images that are taken for another class: the top-1 error."""

from __future__ import annotations

from netspec.metrics._top_errors import TopError


class Top1(TopError):
    """top1 = images of which 1 or more other classes are no less probable than the label / images"""

    title = "top-1 error"
    rank = 1
