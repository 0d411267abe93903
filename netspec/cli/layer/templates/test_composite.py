"""Tests of my_layer.yaml: the layers that its block becomes, their shapes, and that they train."""

from pathlib import Path

import netspec

SPEC = netspec.load(Path(__file__).with_name("my_layer.yaml"))


def test_layers_and_shapes():
    assert {f"{stage}-{name}" for stage in ("stage1", "stage2") for name in ("conv1", "conv2", "sum")} <= {
        layer.name for layer in SPEC.layers
    }
    shapes = {str(key): buffer.shape for key, buffer in netspec.plan(SPEC, batch=2).buffers.items()}
    assert shapes["stage2-sum.y@left"] == (2, 16, 16, 16)


def test_training(tmp_path):
    run = netspec.run(SPEC, iterations=2, out=tmp_path, progress=False)
    assert run.status == "finished"
