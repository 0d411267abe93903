"""Packages whose docstring is a map of their files name each file once, and no other."""

import importlib
import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("folder", ["", ".execution", ".training", ".transport"])
def test_a_map_names_every_file(folder):
    module = importlib.import_module(f"netspec.runners{folder}")
    named = re.findall(r"^ *(\w+(?:\.py|/)) {2,}", module.__doc__, re.MULTILINE)  # Python 3.13 takes indentation off
    entries = [entry for entry in Path(module.__file__).parent.iterdir() if not entry.name.startswith("__")]
    assert sorted(named) == sorted(entry.name + "/" * entry.is_dir() for entry in entries)
