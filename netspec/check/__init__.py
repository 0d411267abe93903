"""The contract suite: ``run(layer_type)`` checks a layer's declarations and kernels."""

from netspec.check.suite import CHECKS, Result, checked, run

__all__ = ["CHECKS", "Result", "checked", "run"]
