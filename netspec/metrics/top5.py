"""The share of images whose class is not among the five likeliest: the top-5 error."""

from __future__ import annotations

from netspec.metrics._top_errors import TopError


class Top5(TopError):
    """top5 = images of which 5 or more other classes are no less probable than the label / images"""

    title = "top-5 error"
    rank = 5
