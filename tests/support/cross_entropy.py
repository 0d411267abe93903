"""The cross-entropy of softmax_loss in float64, with smoothed and mixed labels, and the devices that are held to it."""

import numpy as np
import pytest
from compiled import EmulatedCuda, needs_compiler

from netspec.check.subject import cpu

WEIGHT, VALID = 0.3, 5
DEVICES = [
    pytest.param(cpu, "plain", id="cpu"),
    pytest.param(EmulatedCuda, "plain", id="cuda", marks=needs_compiler),
    pytest.param(EmulatedCuda, "vector", id="cuda-vector", marks=needs_compiler),
]


def reference(x, label, smoothing, other=None, share=None):
    """Sum of losses, and the gradient of WEIGHT times their mean, over the first VALID rows.

    PyTorch: -sum_k q_k log p_k, reduction "mean". q = (1 - s) labels + s / K (Szegedy et al. 2016), where labels has
    1 - share at the label and share at the other one (Zhang et al. 2018).
    """
    x, rows, label = x[:VALID].astype(np.float64), np.arange(VALID), label[:VALID]
    share = np.zeros(VALID) if share is None else share[:VALID]
    q = np.full(x.shape, smoothing / x.shape[1])
    np.add.at(q, (rows, label), (1 - smoothing) * (1 - share))
    np.add.at(q, (rows, label if other is None else other[:VALID]), (1 - smoothing) * share)
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(q * log_p).sum(), WEIGHT * (np.exp(log_p) - q) / VALID
