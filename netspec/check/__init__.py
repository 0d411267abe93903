"""The contract suite: ``run(name)`` checks the declarations and the code of a layer type or an augmentation."""

from netspec.check.suite import CHECKS, Result, checked, run

__all__ = ["CHECKS", "Result", "checked", "run"]
