"""PyTorch on the same card: cuDNN's convolutions, its matrix products, AlexNet in several modes."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
CONVOLUTIONS = {
    "conv1": (3, 96, 227, 11, 4, 0, 1),
    "conv2": (96, 256, 27, 5, 1, 2, 2),
    "conv3": (256, 384, 13, 3, 1, 1, 1),
    "conv4": (384, 384, 13, 3, 1, 1, 2),
    "conv5": (384, 256, 13, 3, 1, 1, 2),
}
"""Channels, filters, pixels a side (conv1: the overhang padded), size, stride, padding, groups of the two towers."""


def products(device: str = "cuda", size: int = 8192) -> dict[str, Any]:
    """TFLOP/s of a large matrix product in float32, tf32 and bf16, on random numbers."""
    import torch

    found: dict[str, Any] = {"torch": torch.__version__}
    for name, dtype, tf32 in (("float32", "float32", False), ("tf32", "float32", True), ("bf16", "bfloat16", False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
        found[f"{name}_TFLOPs"] = 2 * size**3 / _seconds(lambda a=a, b=b: a @ b, device) / 1e12
    answer = ", ".join(f"{name} {found[f'{name}_TFLOPs']:,.0f} TFLOP/s" for name in ("float32", "tf32", "bf16"))
    return {"answer": answer, **found}


def convolutions(batch: int, device: str = "cuda") -> dict[str, Any]:
    """Milliseconds of cuDNN's forward and backward of AlexNet's convolutions, channels last."""
    import torch

    rows = []
    torch.backends.cudnn.benchmark = True
    for mode, tf32, kind in (("float32", False, "float32"), ("tf32", True, "float32"), ("bf16", True, "bfloat16")):
        torch.backends.cudnn.allow_tf32 = tf32
        for name, (channels, filters, side, size, stride, pad, groups) in CONVOLUTIONS.items():
            layer = torch.nn.Conv2d(channels, filters, size, stride, pad, groups=groups).to(device)
            layer = layer.to(getattr(torch, kind)).to(memory_format=torch.channels_last)
            x = torch.randn(batch, channels, side, side, device=device).to(getattr(torch, kind))
            x = x.to(memory_format=torch.channels_last)
            x.requires_grad_(name != "conv1")
            y = layer(x)
            dy = torch.randn_like(y)
            wanted = [*([x] if x.requires_grad else []), *layer.parameters()]
            back = lambda y=y, dy=dy, wanted=wanted: torch.autograd.grad(y, wanted, dy, retain_graph=True)  # noqa: E731
            flops = 2 * y.numel() * size * size * channels // groups
            forward = _seconds(lambda layer=layer, x=x: layer(x), device)
            backward = _seconds(back, device)
            rows.append(
                {
                    "layer": name,
                    "mode": mode,
                    "forward_ms": forward * 1e3,
                    "backward_ms": backward * 1e3,
                    "forward_TFLOPs": flops / forward / 1e12,
                }
            )
    return {"batch": batch, "rows": rows}


def training(batch: int, wanted: str = "", device: str = "cuda") -> None:
    """Print, as a line of JSON each, images a second of AlexNet's training in PyTorch's modes."""
    for name, options in _MODES.items():
        if wanted not in name:
            continue
        try:
            taken = _seconds(_iteration(batch, device, **options), device, least=0.5)
            row = {"mode": name, "images_per_second": batch / taken, "ms": taken * 1e3}
        except Exception as error:
            row = {"mode": name, "failed": f"{type(error).__name__}: {str(error)[:200]}"}
        print(json.dumps(row), flush=True)


_MODES: dict[str, dict[str, bool]] = {
    "eager, float32": {},
    "eager, tf32, channels last": {"tf32": True, "last": True},
    "eager, bf16, channels last": {"tf32": True, "last": True, "bf16": True},
    "CUDA graph, tf32, channels last": {"tf32": True, "last": True, "graph": True},
    "CUDA graph, bf16, channels last": {"tf32": True, "last": True, "bf16": True, "graph": True},
    "compiled max-autotune, tf32": {"tf32": True, "last": True, "compiled": True},
    "compiled max-autotune, bf16": {"tf32": True, "last": True, "bf16": True, "compiled": True},
}


def _iteration(
    batch: int,
    device: str,
    tf32: bool = False,
    last: bool = False,
    bf16: bool = False,
    graph: bool = False,
    compiled: bool = False,
) -> Callable[[], Any]:
    import torch
    from torch_alexnet import alexnet

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    layout = torch.channels_last if last else torch.contiguous_format
    net = alexnet().to(device).to(memory_format=layout)
    x = torch.randn(batch, 3, 227, 227, device=device).to(memory_format=layout)
    labels = torch.randint(0, 1000, (batch,), device=device)
    fused = device == "cuda"
    solver = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=fused)
    run = torch.compile(net, mode="max-autotune") if compiled else net

    def step() -> None:
        solver.zero_grad(set_to_none=not graph)
        with torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=not graph):
            loss = torch.nn.functional.cross_entropy(run(x), labels)
        loss.backward()
        solver.step()

    return _captured(step) if graph else step


def _captured(step: Callable[[], None]) -> Callable[[], None]:
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


def _seconds(call: Callable[[], Any], device: str, least: float = 0.1) -> float:
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


if __name__ == "__main__":
    training(int(sys.argv[1]), *sys.argv[2:])
