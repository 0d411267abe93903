"""Plugin files: the code that runs is the one that was read, and what a run records of it."""

import os

import pytest

from netspec.errors import NetspecError
from netspec.registry import layer_types, load_plugin, plugins_of
from netspec.registry.kinds import layers as registry

CODE = """
from netspec.plugin import Elementwise, register
@register("slope")
class Slope(Elementwise):
    '''{about}'''
    def forward(x): return x
    def backward(dy): return dy
"""


@pytest.fixture(autouse=True)
def own_types(monkeypatch):
    monkeypatch.setattr(registry, "_types", dict(layer_types()))


def test_a_file_that_has_changed_is_run_again(tmp_path):
    file = tmp_path / "slope.py"
    for about in ("one", "two"):
        file.write_text(CODE.format(about=about))
        os.utime(file, (1, 1))  # the same size at the same time: a .pyc file would pass for it
        assert load_plugin(file) == ("slope",)
        assert layer_types()["slope"].__doc__ == about
    kept = layer_types()["slope"]
    load_plugin(file)
    assert layer_types()["slope"] is kept


def test_modules_beside_a_plugin_belong_to_it(tmp_path):
    (tmp_path / "slope_helper_a.py").write_text("FACTOR = 1")
    file = tmp_path / "slope.py"
    file.write_text("import slope_helper_a, wave\n" + CODE.format(about="with a module"))
    load_plugin(file)
    (plugin,) = plugins_of(["slope"])
    assert set(plugin.digests) == {"slope.py", "slope_helper_a.py"}
    assert plugin.file == str(file) and not plugin.module
    (tmp_path / "slope_helper_a.py").write_text("FACTOR = 2")
    load_plugin(file)
    (renewed,) = plugins_of(["slope"])
    assert not renewed.same_code(plugin) and renewed.digest != plugin.digest


def test_equal_code_is_the_same_wherever_it_lies(tmp_path):
    found = []
    for folder, about in (("a", "one"), ("b", "one"), ("c", "two")):
        file = tmp_path / folder / "slope.py"
        file.parent.mkdir()
        file.write_text(CODE.format(about=about))
        registry._types.pop("slope", None)
        load_plugin(file)
        found += plugins_of(["slope"])
    assert found[0].same_code(found[1]) and not found[0].same_code(found[2])


def test_what_is_no_file_is_told_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "circle.py").symlink_to("circle.py")
    with pytest.raises(NetspecError, match=r"circle.py: no such plugin file"):
        load_plugin(tmp_path / "circle.py")
    (tmp_path / "large.py").write_bytes(b"#" * (4 * 2**20 + 1))
    for name, reason in (("pipe", "is a FIFO"), ("folder", "no Python file in it"), ("large", "larger than 4.00 MiB")):
        with pytest.raises(NetspecError, match=f"{name}.py: {reason}"):
            load_plugin(tmp_path / f"{name}.py")
