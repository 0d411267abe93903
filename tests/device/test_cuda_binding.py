"""Binding spec devices to real ones, with GPUs that are not there."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from netspec.device import binding
from netspec.device import gpus as gpu_module
from netspec.device.binding import available, bind, open_devices, place, team_size
from netspec.device.gpus import Gpu
from netspec.errors import NetspecError
from netspec.kernels import toolkit

TWO = ("left", "right")
CARD = Gpu("NVIDIA H100", 80 << 30, (9, 0))


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with four cores, and as many GPUs as the test says."""

    def have(count, obstacle=None):
        monkeypatch.setattr(binding, "gpus", lambda: (CARD,) * count)
        monkeypatch.setattr(binding, "obstacle", lambda: obstacle)

    monkeypatch.setattr(binding, "cores", lambda: 4)
    have(0)
    return have


def test_without_gpus_cpus_share_the_cores():
    names, notes = bind(TWO)
    assert names == ("cpu:0", "cpu:1")
    assert notes == ("left is cpu:0, right is cpu:1; 2 threads each on 4 cores",)


def test_as_many_gpus_as_devices(machine):
    machine(2)
    names, notes = bind(TWO)
    assert names == ("cuda:0", "cuda:1")
    assert notes == ("left is cuda:0, right is cuda:1 (cuda:0 NVIDIA H100; cuda:1 NVIDIA H100)",)


def test_fewer_gpus_are_dealt_in_turn_and_a_line_says_so(machine):
    machine(1)
    names, notes = bind(TWO, ["cuda"])
    assert names == ("cuda:0", "cuda:0")
    assert notes[0] == "1 GPU for 2 devices: they are dealt out in turn"


def test_more_gpus_than_devices(machine):
    machine(3)
    assert bind(("only",))[0] == ("cuda:0",)


LAUNCHERS = [
    {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1"},
    {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
    {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"},
    {"PMI_RANK": "5", "PMI_SIZE": "8"},  # a launcher that does not say it: the number among all
]


@pytest.mark.parametrize("variables", LAUNCHERS)
def test_each_process_of_a_machine_has_a_card_to_itself(machine, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    machine(4)
    assert bind(TWO) == (("cuda:1", "cuda:1"), ("left is cuda:1, right is cuda:1 (cuda:1 NVIDIA H100)",))
    assert bind(TWO, ["cuda"])[0] == ("cuda:1", "cuda:1") and bind(TWO, ["cuda:0,cuda:3"])[0] == ("cuda:0", "cuda:3")
    machine(1)  # shown one card of its own, or sharing it
    assert bind(TWO)[0] == ("cuda:0", "cuda:0")


def test_the_number_among_processes_says_nothing_where_one_was_started_by_itself(machine, monkeypatch):
    monkeypatch.setenv("SLURM_LOCALID", "1")  # in a batch script
    machine(2)
    assert bind(TWO)[0] == ("cuda:0", "cuda:1")


def test_devices_of_one_replica_on_cards_of_several_ranks(machine):
    machine(2)
    placed = place(TWO, ["0/cuda:0,1/cuda:1"])
    assert placed.names == ("cuda:0", "cuda:1") and placed.ranks == (0, 1) and placed.of(1) == ("cuda:1",)
    assert placed.notes == ("left is 0/cuda:0, right is 1/cuda:1: 2 processes work each replica",)


def test_a_gpu_without_its_libraries_is_one_line_then_cpus(machine):
    machine(1, "a GPU found, but not the CUDA compiler's libraries: install netspec[cuda13]")
    names, notes = bind(TWO)
    assert names == ("cpu:0", "cpu:1") and "netspec[cuda13]; CPUs are used" in notes[0]
    assert [info.name for info in available()] == ["cpu:0"]
    assert len(bind(TWO, ["cpu"])[1]) == 1
    with pytest.raises(NetspecError, match="cuda13"):
        bind(TWO, ["cuda:0,cuda:0"])


@pytest.mark.parametrize("request_", [["cpu:3,cpu:3"], ["cpu:3", "cpu:3"], ["cpu:3 , cpu:03"]])
def test_names_are_taken_as_they_are(request_):
    assert bind(TWO, request_)[0] == ("cpu:3", "cpu:3")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (["cpu:0"], r"1 name \(cpu:0\) for 2 devices \(left, right\)"),
        (["cpu:0,cpu:1,cpu:2"], "3 names"),
        (["gpu:0,gpu:1"], "unknown device 'gpu:0': write cpu, cuda"),
        (["cpu,cpu"], "unknown device 'cpu'"),
        ([""], "unknown device ''"),
        (["cpu:\u0663"], "unknown device 'cpu:\u0663'"),
        (["cpu:0,cuda:0"], "not on both at once"),
        (["cuda"], "no GPU found"),
        (["cuda:0,cuda:1"], "no GPU found"),
    ],
)
def test_what_cannot_be_bound(request_, message):
    with pytest.raises(NetspecError, match=message):
        bind(TWO, request_)


def test_an_unknown_card_is_told_with_the_known_ones(machine):
    machine(1)
    with pytest.raises(NetspecError, match=r"there is no cuda:1; found: cuda:0 \(NVIDIA H100\)"):
        bind(TWO, ["cuda:0,cuda:1"])
    assert [info.name for info in available()] == ["cuda:0", "cpu:0"]
    assert available()[0].memory == 80 << 30


def test_devices_of_one_name_have_teams_of_their_own():
    assert team_size("cpu:0", ("cpu:0", "cpu:0")) == 4
    assert team_size("cpu:0", ("cpu:0", "cpu:1", "cpu:2")) == 1
    assert team_size("cuda:0", ("cuda:0",)) == 1
    first, second = open_devices(("cpu:0", "cpu:0"))
    try:
        assert first is not second and first.team_size == second.team_size == 4
    finally:
        first.close()
        second.close()


class FakeDriver:
    """The driver's library as ctypes shows it: two cards."""

    def __init__(self, version=13000):
        self.version = version

    def cuDeviceGetCount(self, count):
        count._obj.value = 2

    def cuDeviceGet(self, handle, index):
        handle._obj.value = index + 10

    def cuDeviceGetName(self, text, length, handle):
        text.value = b"Card %d" % handle.value

    def cuDeviceTotalMem_v2(self, memory, handle):
        memory._obj.value = handle.value << 30

    def cuDeviceGetAttribute(self, value, attribute, handle):
        value._obj.value = {75: 9, 76: 0}[attribute]

    def cuDriverGetVersion(self, number):
        number._obj.value = self.version


@pytest.fixture
def driver(monkeypatch):
    """A driver of that version; what was asked before is forgotten before and after."""

    def have(version):
        monkeypatch.setattr(gpu_module, "_driver", lambda: FakeDriver(version))
        gpu_module.gpus.cache_clear()
        gpu_module.obstacle.cache_clear()

    yield have
    gpu_module.gpus.cache_clear()
    gpu_module.obstacle.cache_clear()


def test_the_driver_is_asked_for_its_cards(driver):
    driver(13000)
    assert gpu_module.gpus() == (Gpu("Card 10", 10 << 30, (9, 0)), Gpu("Card 11", 11 << 30, (9, 0)))


@pytest.mark.parametrize(("version", "extra"), [(12080, "cuda12"), (13000, "cuda13"), (14010, "cuda13")])
def test_the_extra_that_fits_the_driver_is_named(driver, monkeypatch, version, extra):
    driver(version)
    monkeypatch.setattr(gpu_module, "finds_compiler", lambda: False)
    line = gpu_module.obstacle()
    assert line == f"2 GPUs found, but not the CUDA compiler's libraries: install netspec[{extra}]"


def test_the_drivers_version_is_told(driver, monkeypatch):
    driver(13020)
    assert gpu_module.driver_version() == "13.2"
    monkeypatch.setattr(gpu_module, "_driver", lambda: None)
    assert gpu_module.driver_version() is None


@pytest.mark.parametrize("code", [0, 803])
def test_a_driver_that_does_not_start_is_told(monkeypatch, code):
    said = f"the driver's library does not start: cuInit answers {code}" if code else None
    monkeypatch.setattr(gpu_module, "library", lambda: SimpleNamespace(cuInit=lambda flags: code))
    assert gpu_module.fault() == said and (gpu_module._driver() is None) == bool(code)
    monkeypatch.setattr(gpu_module, "library", lambda: None)
    assert gpu_module.fault() is None and gpu_module._driver() is None


def test_a_toolkits_library_is_loaded_from_where_numba_cuda_does_not_look(monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr(toolkit, "_found", lambda library: library in found)
    monkeypatch.setattr(toolkit.ctypes, "CDLL", lambda path, mode: found.append(path.split("/lib")[-1][:4]))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert not toolkit.finds_compiler() and not found
    (tmp_path / "lib64").mkdir()
    for name in ("libnvvm.so.4", "libnvrt.so.13"):
        (tmp_path / "lib64" / name).touch()
    assert toolkit._loads("nvvm") and found == ["nvvm"]
    monkeypatch.setattr(toolkit.ctypes, "CDLL", lambda path, mode: (_ for _ in ()).throw(OSError(path)))
    assert not toolkit._loads("nvvm") and not toolkit.finds_compiler()


def test_binding_imports_no_numba():
    code = "import sys; from netspec.device.binding import bind; bind(('a',)); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
