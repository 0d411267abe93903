"""ONNX operators as layers of netspec: the functions by the operators' names."""

from __future__ import annotations

from collections.abc import Mapping

from netspec.exchange.onnx_in import (
    arithmetic,
    local_layers,
    normalisations,
    products,
    response,
    volume_windows,
    windows,
)
from netspec.exchange.onnx_in.moves import MOVES
from netspec.exchange.onnx_in.node_operands import Operator
from netspec.exchange.onnx_in.signal_windows import also_of_signals


def _windowed(of_images: Operator, of_volumes: Operator) -> Operator:
    """An operator over windows of signals, images and volumes."""
    return volume_windows.also_of_volumes(also_of_signals(of_images), of_volumes)


OPERATORS: Mapping[str, Operator] = {
    **MOVES,
    local_layers.OP: local_layers.layer,
    "Add": arithmetic.add,
    "AveragePool": _windowed(windows.average_pool, volume_windows.pool("average")),
    "BatchNormalization": normalisations.batch_norm,
    "Cast": arithmetic.cast,
    "Clip": arithmetic.clip,
    "Concat": arithmetic.concat,
    "Constant": arithmetic.stored,
    "ConstantOfShape": arithmetic.filled,
    "Conv": _windowed(windows.conv, volume_windows.conv),
    "ConvTranspose": also_of_signals(windows.conv_transpose),
    "Div": arithmetic.div,
    "Dropout": arithmetic.dropout,
    "Elu": arithmetic.elementwise("elu", alpha=("alpha", 1.0)),
    "Gelu": arithmetic.gelu,
    "Gemm": products.gemm,
    "GlobalAveragePool": _windowed(windows.global_pool("average"), volume_windows.pool("average", whole=True)),
    "GlobalMaxPool": _windowed(windows.global_pool("max"), volume_windows.pool("max", whole=True)),
    "GroupNormalization": normalisations.group_norm,
    "HardSwish": arithmetic.elementwise("hardswish"),
    "Identity": arithmetic.same,
    "InstanceNormalization": normalisations.instance_norm,
    "LRN": windows.lrn,
    "LayerNormalization": normalisations.layer_norm,
    "LeakyRelu": arithmetic.elementwise("leaky_relu", slope=("alpha", 0.01)),
    "LogSoftmax": normalisations.softmax,
    "MatMul": products.mat_mul,
    "MaxPool": _windowed(windows.max_pool, volume_windows.pool("max")),
    "Mul": arithmetic.mul,
    "PRelu": arithmetic.prelu,
    "Pad": windows.pad,
    "Pow": response.squared,
    "ReduceMean": windows.reduce_mean,
    "Relu": arithmetic.elementwise("relu"),
    "Resize": windows.resize,
    "Shape": arithmetic.shape_of,
    "Sigmoid": arithmetic.elementwise("logistic"),
    "Softmax": normalisations.softmax,
    "Sub": arithmetic.sub,
    "Sum": arithmetic.add,
    "Tanh": arithmetic.elementwise("tanh"),
}
