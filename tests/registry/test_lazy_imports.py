"""Built-in classes are found by the names of their files, and imported when they are asked for."""

import subprocess
import sys
from types import ModuleType

import pytest

from netspec import figures
from netspec.contract.layer import Layer
from netspec.errors import NetspecError
from netspec.registry import Registry, layer_types, registered
from netspec.registry import registry as registries


def test_every_built_in_class_is_called_as_its_file_is():
    assert registered() and figures.figure_kinds()
    for kind, registry in registries._registries.items():
        for name, cls in registry.types().items():
            if cls.__module__.startswith("netspec."):
                assert cls.__module__ == f"{registry.package}.{name}", (kind, name)


def test_a_spec_imports_the_layers_that_it_has():
    code = "import sys, netspec; netspec.plan('quickstart'); print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "netspec.layers.conv" in found
    assert not {"netspec.layers.lrn_within", "netspec.layers.conv_transpose", "netspec.layers.huber"} & set(found)


def test_the_code_that_a_run_records_is_found_without_the_types_that_it_lacks():
    code = (
        "import sys; from netspec import load; from netspec.runners.recorded_plugins import used_by;"
        "print(used_by(load('quickstart')), *sorted(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    nothing, *found = told.split()
    assert nothing == "()" and {"netspec.layers.conv", "netspec.solvers.sgd", "netspec.schedules.step"} <= set(found)
    assert not {"netspec.layers.huber", "netspec.solvers.lars"} & set(found)


def test_names_are_known_before_their_classes_are():
    types = layer_types()
    assert {"conv", "huber"} <= set(types) and "huber" in types and "no_such" not in types and len(types) > 40
    assert types["huber"].type == "huber" and types.get("no_such") is None
    with pytest.raises(KeyError):
        types["no_such"]


def test_a_plugin_cannot_take_the_name_of_a_layer_that_nobody_has_asked_for(monkeypatch):
    monkeypatch.setattr(registries, "_registries", {})
    registry = Registry("layers", Layer, "netspec.layers", "layer type")
    mine = type("Mine", (Layer,), {"__module__": "mine"})
    monkeypatch.setitem(sys.modules, "mine", ModuleType("mine"))
    with pytest.raises(NetspecError, match=r"layer type 'axpby' is registered twice: by .*axpby\.py and by mine"):
        registry.add("axpby", mine)
