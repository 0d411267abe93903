"""AlexNet's training in one of PyTorch's modes: ``python rival.py cuda "bf16 compiled graph" 128``, see worker.py.

It is asked twice: to compile, while other processes use the cores, and to measure, with the card to itself. What
cuDNN chooses by measuring it chooses then. Words: tf32 or bf16 (float32 else), compiled, graph (the whole step as one
CUDA graph), shifted (response normalisation as sums of shifted squares instead of nn.LocalResponseNorm).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder: nothing that PyTorch imports may be found here
sys.path.append(str(Path(__file__).resolve().parent.parent))
import torch
from torch import nn
from torch_alexnet import alexnet

from gpu_parts.libraries import captured, seconds
from gpu_parts.worker import serve


class ShiftedNorm(nn.Module):
    """The normalisation of torch_alexnet.py in operations that a compiler fuses."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, C, H, W) over the root of sums of 5 channels' squares."""
        squares, channels = nn.functional.pad(x * x, (0, 0, 0, 0, 2, 2)), x.shape[1]
        sums = sum(squares[:, i : i + channels] for i in range(5))
        return x * (2.0 + 1e-4 * sums).pow(-0.75)


class Rival:
    """The network, its solver and one batch on the device."""

    def __init__(self, device: str, mode: str, batch: int) -> None:
        self.device, self.mode, self.batch, words = device, mode, batch, mode.split()
        self.bf16, self.graph = "bf16" in words, "graph" in words and device == "cuda"
        tf32 = "tf32" in words or self.bf16
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        net = alexnet()
        for name, layer in net.named_children():
            if "shifted" in words and isinstance(layer, nn.LocalResponseNorm):
                net[int(name)] = ShiftedNorm()
        net = net.to(device).to(memory_format=torch.channels_last)
        self.solver = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True)
        self.images = torch.randn(batch, 3, 227, 227, device=device).to(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 1000, (batch,), device=device)
        self.run = torch.compile(net) if "compiled" in words else net

    def step(self) -> None:
        """Forward, backward, update."""
        self.solver.zero_grad(set_to_none=True)  # captured so too: gradients are written anew, not added to noughts
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16, cache_enabled=not self.graph):
            loss = nn.functional.cross_entropy(self.run(self.images), self.labels)
        loss.backward()
        self.solver.step()

    def compile(self) -> dict[str, Any]:
        """The first steps; cuDNN takes what its rules say."""
        torch.backends.cudnn.benchmark = False
        for _ in range(3):
            self.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return {"mode": self.mode, "batch": self.batch}

    def time(self) -> dict[str, Any]:
        """Images a second by cuDNN's fastest algorithms, and the most memory that tensors took."""
        torch.backends.cudnn.benchmark = True
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        call: Callable[[], Any] = captured(self.step) if self.graph else self.step
        taken = seconds(call, self.device, least=1.0)
        memory = torch.cuda.max_memory_allocated() if self.device == "cuda" else 0
        precision = "bf16" if self.bf16 else "tf32" if torch.backends.cudnn.allow_tf32 else "float32"
        answer = f"{self.batch / taken:,.0f} images a second, {taken * 1e3:.2f} ms"
        figures = {"images_per_second": self.batch / taken, "ms": taken * 1e3, "MiB": memory / 2**20}
        return {"answer": answer, "precision": precision, **figures}


def main(device: str, mode: str, batch: str) -> None:
    """Answer until nobody asks any more."""
    rival: list[Rival] = []

    def answer(name: str, done: Mapping[str, Any], left: float) -> dict[str, Any]:
        try:
            if not rival:
                rival.append(Rival(device, mode, int(batch)))
            return rival[0].compile() if name == "compile" else rival[0].time()
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {str(error)[:300]}", "traceback": traceback.format_exc()}

    serve(answer)


if __name__ == "__main__":
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    main(*sys.argv[1:])
