"""Installed plugins: one that breaks is told with its package, and the others work."""

import sys

import pytest
from cli_tools import MINI, netspec

from netspec.errors import NetspecError, SpecError
from netspec.registry import installed_faults, layer_types, load_plugin, plugins_of
from netspec.registry import registry as registry_module
from netspec.runners.recorded_plugins import used_by
from netspec.spec import loads

LAYER = """
from netspec.plugin import Elementwise, register
@register("{name}")
class Mine(Elementwise):
    def forward(x): return x
    def backward(dy): return dy
"""
USUAL = "one = {name}.layer"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with an entry point on the path: its name, its code, its entry_points.txt."""
    before = set(sys.modules)
    registry_module.registered()
    for one in registry_module._registries.values():
        monkeypatch.setattr(one, "_types", dict(one.types()))
    monkeypatch.setattr(registry_module, "_installed", False)
    monkeypatch.setattr(registry_module, "_faults", [])
    monkeypatch.syspath_prepend(tmp_path)

    def put(name, code, entries=USUAL):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "layer.py").write_text(code)
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text("[netspec.layers]\n" * (entries[0] != "[") + entries.format(name=name))
        (info / "top_level.txt").write_text(name)

    yield put
    for module in set(sys.modules) - before:
        if module.startswith("np_"):
            del sys.modules[module]


@pytest.mark.parametrize(
    ("code", "entries", "reason"),
    [
        ("import nowhere_at_all", USUAL, "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        (LAYER.format(name="relu"), USUAL, "layer type 'relu' is registered twice: by "),
        (LAYER.format(name="half") + "raise SystemExit(3)", USUAL, "SystemExit: 3"),
        (LAYER.format(name="half") + "class Two(Mine):\n    attrs = {'rate': {}}\n", USUAL, "declares the attribute"),
        ("", "one = {name}.elsewhere", "ModuleNotFoundError: No module named 'np_bad.elsewhere'"),
        ("", "one = {name}.layer:Gone", "AttributeError: "),
        ("", "one", "entry_points.txt cannot be read: "),
        ("", "one = ???", "cannot be imported: "),
    ],
    ids=["import", "collision", "exit", "declaration", "module", "attribute", "no value", "no name"],
)
def test_one_that_breaks_does_not_stop_the_others(install, code, entries, reason):
    install("np_bad", code, entries)
    install("np_good", LAYER.format(name="good"))
    assert "good" in layer_types() and "relu" in layer_types() and "half" not in layer_types()
    (fault,) = installed_faults()
    assert fault.startswith("installed plugin np_bad 1.2") and reason in fault


OTHERS = """
from netspec.data.source import Source
from netspec.init import Initialiser
from netspec.plugin import Augmentation, register
from netspec.schedules import Schedule

@register("blur")
class Blur(Augmentation): pass
@register("wave")
class Wave(Schedule):
    def rate(self, progress): return 1.0
@register("ones")
class Ones(Initialiser):
    def draw(self, random, shape, fan): return np.ones(shape, "float32")
@register("nowhere")
class Nowhere(Source):
    attrs = {}
    def __init__(self, attrs, seed): pass
    def list_split(self, split, alone=False): return None
"""


def test_a_package_may_bring_other_kinds_than_layers(install):
    """Each is found by the spec, recorded with its package, and refused where its name is taken."""
    install("np_good", OTHERS, "[netspec.augmentations]\none = {name}.layer\n")
    install("np_bad", OTHERS.replace('"blur"', '"crop"'), "[netspec.schedules]\none = {name}.layer\n")
    data = "data={source: nowhere, augment: {blur: on}}"
    sets = ["layers.fc1.init={type: ones}", "train.schedule={type: wave}", data]
    spec = loads(MINI.replace(MINI.splitlines()[-1], ""), "mini.yaml", sets)
    assert "blur" in spec.data.augment
    (fault,) = installed_faults()
    assert "np_bad.layer cannot be imported: augmentation 'crop' is registered twice: by " in fault
    (plugin,) = used_by(spec)
    assert set(plugin.types) == {"augmentations.blur", "schedules.wave", "initialisers.ones", "sources.nowhere"}
    assert plugin.package == "np_good 1.2"


def test_commands_tell_of_it_once_and_do_their_work(install, tmp_path):
    install("np_bad", "1 / 0")
    (tmp_path / "mini.yaml").write_text(MINI)
    said = netspec("validate", tmp_path / "mini.yaml")
    assert said.code == 0 and "valid, 4 layers" in said.out
    reason = "np_bad.layer cannot be imported: ZeroDivisionError: division by zero"
    assert said.err == f"note: installed plugin np_bad 1.2: {reason}\n"


def test_an_unknown_type_may_be_that_of_a_broken_plugin(install):
    install("np_bad", "1 / 0")
    with pytest.raises(SpecError, match=r"type 'zzz' \(known: .*; installed plugin np_bad 1.2: np_bad.layer"):
        loads(MINI.replace("type: relu", "type: zzz"))


def test_what_is_recorded_of_one_names_its_package(install):
    install("np_good", LAYER.format(name="good"))
    (plugin,) = plugins_of(["relu", "good"])
    assert (plugin.types, plugin.module, plugin.package) == (("good",), "np_good.layer", "np_good 1.2")
    assert set(plugin.digests) == {"layer.py", "__init__.py"} and len(plugin.digest) == 64


def test_a_file_that_is_installed_too_is_told(install, tmp_path):
    install("np_good", LAYER.format(name="good"))
    with pytest.raises(NetspecError, match=r"imported twice, as np_good.layer and .*; import it as np_good.layer only"):
        load_plugin(tmp_path / "np_good" / "layer.py")
