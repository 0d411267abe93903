"""The loss that is trained on: what all cost layers report, each times its weight."""

from __future__ import annotations

from netspec.metrics._base import Metric


class Loss(Metric):
    """loss = sum over cost layers of weight * mean over images of what the layer reports."""

    answers = "reports"
    unit = ""
