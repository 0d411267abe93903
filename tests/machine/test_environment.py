"""What the environment can do to compiled code is refused, recorded or told."""

import pytest
from cli_tools import MINI, process

from netspec.errors import NetspecError
from netspec.machine import environment


@pytest.mark.parametrize(
    ("command", "variable", "told"),
    [
        ("run", {"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set: kernels must be compiled; unset it"),
        ("tune", {"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set: kernels must be compiled; unset it"),
        ("run", {"NUMBA_NUM_THREADS": "0"}, "numba does not load: Number of threads"),
    ],
)
def test_kernels_that_may_not_be_compiled_are_one_line(tmp_path, command, variable, told):
    (tmp_path / "mini.yaml").write_text(MINI)
    out = ("--out", tmp_path / "runs") if command == "run" else ()
    said = process(command, tmp_path / "mini.yaml", "--devices", "cpu", *out, **variable)
    assert said.code == 1
    assert said.err.startswith(f"error: {told}") and len(said.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_configuration_file_that_says_so_is_named(monkeypatch):
    from numba.core import config

    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    with pytest.raises(NetspecError, match=r"NUMBA_DISABLE_JIT is set in \.numba_config\.yaml: "):
        environment.refuse_uncompiled()


def test_variables_that_choose_code_are_told_apart_from_others(monkeypatch):
    for name in ("OPENBLAS_CORETYPE", "NUMBA_CPU_NAME", "NUMBA_OPT", "NPY_DISABLE_CPU_FEATURES", "MKL_CBWR"):
        monkeypatch.setenv(name, "x")
    before = environment.choosing_variables()
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_CACHE_DIR", "CUDA_VISIBLE_DEVICES", "HOME_CUDA_X"):
        monkeypatch.setenv(name, "x")
    assert environment.choosing_variables() == before
    assert {"OPENBLAS_CORETYPE", "NUMBA_CPU_NAME", "NUMBA_OPT", "NPY_DISABLE_CPU_FEATURES", "MKL_CBWR"} <= before.keys()
    described = environment.describe_environment([])["variables"]
    assert described["OMP_NUM_THREADS"] == described["CUDA_VISIBLE_DEVICES"] == "x" and "HOME_CUDA_X" not in described


def test_kernels_compiled_otherwise_are_kept_apart(monkeypatch):
    from netspec.kernels import cpu

    usual = cpu._target.__wrapped__()
    monkeypatch.setenv("NUMBA_WARNINGS", "1")
    assert cpu._target.__wrapped__() == usual
    monkeypatch.setenv("NUMBA_OPT", "0")
    assert cpu._target.__wrapped__() != usual
