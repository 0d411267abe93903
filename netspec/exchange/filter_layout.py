"""Weights of transposed convolutions, which Caffe, ONNX and PyTorch have in one layout, as netspec has them."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def of_conv_transpose(kernels: Array, groups: int) -> Array:
    """(C, filters / groups, KH, KW) as (KH, KW, C / groups, filters); groups divide C."""
    channels, share, *size = kernels.shape
    apart = kernels.reshape(groups, channels // groups, share, *size)
    return apart.transpose(3, 4, 1, 0, 2).reshape(*size, channels // groups, groups * share)
