"""Specs: from YAML text to typed, immutable data.

``load`` reads files (``files``, ``nodes``), lays specs over one another (``merge``, ``overrides``) and builds the Spec
(``build``, ``layers``, ``connections``, ``sections``) that ``model`` describes; ``report`` gathers what is wrong.
"""

from netspec.spec.load import load, loads
from netspec.spec.render import render

__all__ = ["load", "loads", "render"]
