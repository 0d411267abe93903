"""The shipped specs load, read alike under YAML 1.1, and fit the JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from netspec.spec import canonical, from_canonical, load, loads, resolved, schema
from netspec.spec.files import shipped
from netspec.spec.nodes import plain
from netspec.spec.reader import parse


@pytest.mark.parametrize("name", shipped())
def test_shipped_spec(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a bare name is found from anywhere
    spec = load(name)
    assert loads(resolved(spec)) == spec
    assert from_canonical(json.loads(json.dumps(canonical(spec)))) == spec


@pytest.mark.parametrize("path", shipped().values(), ids=shipped())
def test_shipped_spec_needs_no_netspec_to_be_checked(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    node = parse(text, str(path), [])
    assert node is not None and plain(node) == data
    jsonschema.Draft202012Validator(schema()).validate(data)


def test_there_are_some() -> None:
    assert "alexnet" in shipped()
