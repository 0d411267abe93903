"""ONNX models as netspec's networks: the file, its graph, and what each operator is as layers."""
