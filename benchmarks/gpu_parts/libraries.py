"""NVIDIA's libraries on the same card, through PyTorch: cuDNN's convolutions, cuBLAS's matrix products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

CONVOLUTIONS = {
    "conv1": (3, 96, 227, 11, 4, 0, 1),
    "conv2": (96, 256, 27, 5, 1, 2, 2),
    "conv3": (256, 384, 13, 3, 1, 1, 1),
    "conv4": (384, 384, 13, 3, 1, 1, 2),
    "conv5": (384, 256, 13, 3, 1, 1, 2),
}
"""Channels, filters, pixels a side (conv1: the overhang padded), size, stride, padding, groups of the two towers."""
Call = Callable[[], Any]


def products(device: str = "cuda", size: int = 8192) -> dict[str, Any]:
    """TFLOP/s of a large matrix product in float32, tf32 and bf16, on random numbers."""
    import torch

    found: dict[str, Any] = {"torch": torch.__version__}
    for name, dtype, tf32 in (("float32", "float32", False), ("tf32", "float32", True), ("bf16", "bfloat16", False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
        found[f"{name}_TFLOPs"] = 2 * size**3 / seconds(lambda a=a, b=b: a @ b, device) / 1e12
    answer = ", ".join(f"{name} {found[f'{name}_TFLOPs']:,.0f} TFLOP/s" for name in ("float32", "tf32", "bf16"))
    return {"answer": answer, **found}


def convolutions(batch: int, precision: str, device: str = "cuda") -> dict[str, Any]:
    """Milliseconds of cuDNN's forward and backward of AlexNet's convolutions, channels last, by its fastest algorithms.

    With biases and their gradients, without the first layer's image gradient, replayed as CUDA graphs.
    """
    import torch

    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, precision != "float32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    rows = [_convolution(name, batch, dtype, device) for name in CONVOLUTIONS]
    total = sum(row["forward_ms"] + row["backward_ms"] for row in rows)
    return {"answer": f"{total:.3f} ms forward and backward", "batch": batch, "precision": precision, "rows": rows}


def _convolution(name: str, batch: int, dtype: Any, device: str) -> dict[str, Any]:
    import torch

    channels, filters, side, size, stride, pad, groups = CONVOLUTIONS[name]
    layout: dict[str, Any] = {"device": device, "dtype": dtype, "memory_format": torch.channels_last}
    x = torch.randn(batch, channels, side, side).to(**layout)
    weight = torch.randn(filters, channels // groups, size, size).to(**layout)
    bias = torch.randn(filters).to(device, dtype)
    shape: tuple[Any, ...] = ([stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups)
    y = torch.ops.aten.convolution(x, weight, bias, *shape)
    dy, wanted = torch.randn_like(y), [name != "conv1", True, True]
    forward = _replayed(lambda: torch.ops.aten.convolution(x, weight, bias, *shape), device)
    backward = _replayed(
        lambda: torch.ops.aten.convolution_backward(dy, x, weight, [filters], *shape, wanted), device
    )
    rate = 2 * y.numel() * size * size * channels // groups / forward / 1e12
    return {"layer": name, "forward_ms": forward * 1e3, "backward_ms": backward * 1e3, "forward_TFLOPs": rate}


def _replayed(call: Call, device: str, count: int = 10) -> float:
    """Seconds of one call of many in a graph, as our steps are timed."""

    def many() -> None:
        for _ in range(count):
            call()

    return seconds(captured(many) if device == "cuda" else many, device) / count


def captured(step: Call) -> Call:
    """The step as a CUDA graph."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay  # type: ignore[no-any-return]


def seconds(call: Call, device: str, least: float = 0.1) -> float:
    """The median of five rounds, the first calls left out."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        call()
    wait()
    start = time.perf_counter()
    call()
    wait()
    count = max(1, round(least / 5 / max(time.perf_counter() - start, 1e-6)))
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        rounds.append((time.perf_counter() - start) / count)
    return statistics.median(rounds)
