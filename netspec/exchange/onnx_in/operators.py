"""ONNX operators as layers of netspec: the functions by the operators' names."""

from __future__ import annotations

from collections.abc import Mapping

from netspec.exchange.onnx_in import arithmetic, local_layers, products, response, windows
from netspec.exchange.onnx_in.moves import MOVES
from netspec.exchange.onnx_in.node_operands import Operator

OPERATORS: Mapping[str, Operator] = {
    **MOVES,
    local_layers.OP: local_layers.layer,
    "Add": arithmetic.add,
    "AveragePool": windows.average_pool,
    "BatchNormalization": arithmetic.batch_norm,
    "Cast": arithmetic.cast,
    "Concat": arithmetic.concat,
    "Constant": arithmetic.stored,
    "ConstantOfShape": arithmetic.filled,
    "Conv": windows.conv,
    "Div": arithmetic.div,
    "Dropout": arithmetic.dropout,
    "Gemm": products.gemm,
    "GlobalAveragePool": windows.global_pool("average"),
    "GlobalMaxPool": windows.global_pool("max"),
    "Identity": arithmetic.same,
    "LRN": windows.lrn,
    "LogSoftmax": products.softmax,
    "MatMul": products.mat_mul,
    "MaxPool": windows.max_pool,
    "Mul": arithmetic.mul,
    "Pad": windows.pad,
    "Pow": response.squared,
    "ReduceMean": windows.reduce_mean,
    "Relu": arithmetic.elementwise("relu"),
    "Shape": arithmetic.shape_of,
    "Sigmoid": arithmetic.elementwise("logistic"),
    "Softmax": products.softmax,
    "Sub": arithmetic.sub,
    "Sum": arithmetic.add,
    "Tanh": arithmetic.elementwise("tanh"),
}
