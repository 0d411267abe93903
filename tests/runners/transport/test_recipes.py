"""The recipes of docs/scale.md, word for word, with stand-ins for what only a cluster has; and another MPI."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT
from several_processes import LONGEST_S, MPIEXEC, TINY, folder_of, losses, needs_mpi, run

from netspec.runners.training.saver import listed

SCRIPT = re.search(r"```bash\n(#!/bin/bash\n.*?)```", (ROOT / "docs/scale.md").read_text(), re.DOTALL)[1]
OPTIONS = {
    "job-name": r"\w+",
    "nodes": r"\d+",
    "ntasks-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "time": r"(\d+-)?\d\d:\d\d:\d\d",
    "signal": r"(R?B?:)?(TERM|INT|USR1)(@\d+)?",
    "output": r"[\w%.-]+",
}
"""What sbatch(1) takes, of each option that the script has."""
SRUN = """#!/bin/bash
echo "$@" >> "$HOME/srun.txt"
while [[ "$1" == --* ]]; do shift; done
exec {} "$@"
"""


def directives() -> dict[str, str]:
    """The #SBATCH lines: all before the first command, or sbatch would pass over them."""
    head = SCRIPT.partition("set -eu")[0].splitlines()[1:]
    assert all(line.startswith("#SBATCH --") for line in head) and SCRIPT.count("#SBATCH") == len(head)
    return dict(line.removeprefix("#SBATCH --").split("=", 1) for line in head)


def test_the_script_s_directives_are_slurm_s_and_its_processes_can_share_the_replicas():
    found = directives()
    assert set(found) == set(OPTIONS)
    assert all(re.fullmatch(OPTIONS[name], value) for name, value in found.items())
    processes = int(found["nodes"]) * int(found["ntasks-per-node"])
    replicas, batch = (int(re.search(rf"{word}[= ](\d+)", SCRIPT)[1]) for word in ("replicas", "--batch"))
    assert processes & (processes - 1) == 0 and processes <= replicas and batch % replicas == 0
    assert subprocess.run(["bash", "-n"], input=SCRIPT, text=True, check=False).returncode == 0


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A home with the environment that the recipe makes, some images, and a stand-in for srun; gives what submits."""
    binaries = tmp_path / "netspec" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
    write(binaries / "netspec", f'#!/bin/bash\nexec {sys.executable} -m netspec "$@"\n')
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        for kind in ("a", "b", "c"):
            (folder := tmp_path / "imagenet" / split / kind).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tiny.yaml").write_text(TINY)

    def submit(how):
        write(binaries / "srun", SRUN.format(how))
        small = SCRIPT.replace("runs/alexnet", "runs/tiny").replace("alexnet", "tiny.yaml").replace("1024", "8")
        given = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_CPUS_PER_TASK": directives()["cpus-per-task"]}
        return subprocess.run(
            ["bash"], input=small, capture_output=True, text=True, check=False, timeout=LONGEST_S,
            env={**os.environ, **given, "NETSPEC_CACHE_DIR": os.environ.get("NETSPEC_CACHE_DIR", KERNELS)},
        )  # fmt: skip

    return submit


KERNELS = str(Path.home() / ".cache" / "netspec")
"""Where compiled kernels are, whatever the home of the stand-in."""


def write(file, text):
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_the_script_asks_srun_for_a_run_and_then_for_its_resumption(cluster, tmp_path):
    assert cluster("true").returncode == 0
    (checkpoints := tmp_path / "runs/tiny/2026/checkpoints").mkdir(parents=True)
    (checkpoints / "iteration-00000001.safetensors").touch()
    assert cluster("true").returncode == 0
    first, second = (tmp_path / "srun.txt").read_text().splitlines()
    start = f"--kill-on-bad-exit=1 --cpus-per-task={directives()['cpus-per-task']} netspec run tiny.yaml"
    data = f"--data {tmp_path}/imagenet --batch 8 --set replicas=8"
    assert first == f"{start} {data} --set train.scale={{base: 128, warmup: 5}}"
    assert second == f"{start} --resume latest"
    assert cluster("false").returncode == 1


@pytest.mark.slow
@needs_mpi
def test_the_script_trains_and_goes_on(cluster, tmp_path):
    done = cluster(f"{MPIEXEC} -n 2")
    assert done.returncode == 0 and "2 processes on " in done.stdout, done.stderr
    done = cluster(f"{MPIEXEC} -n 4")
    assert done.returncode == 0 and "going on from " in done.stdout, done.stderr
    assert len(listed(folder_of(tmp_path / "runs") / "checkpoints")) == 3


@pytest.mark.slow
@needs_mpi
def test_processes_may_be_bound_to_sockets(tmp_path):
    """As on one node with several; MPICH's own launcher takes the option."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    words = [MPIEXEC, "-n", "2", "-bind-to", "socket", sys.executable, "-m", "netspec", "run", tmp_path / "tiny.yaml"]
    done = subprocess.run(
        list(map(str, [*words, "--devices", "cpu", "--out", tmp_path])),
        capture_output=True, text=True, timeout=LONGEST_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "2 processes on " in done.stdout, done.stderr


OPEN_MPI = os.environ.get("OPEN_MPI_VENV", "")
"""A virtual environment with Open MPI and mpi4py: see CONTRIBUTING.md."""


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("mpiexec", path=f"{OPEN_MPI}/bin"), reason="OPEN_MPI_VENV names no environment with Open MPI"
)
@pytest.mark.parametrize("processes", [2, 4])
def test_open_mpi_gives_the_same_bits(tmp_path, processes):
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert run(1, tmp_path / "tiny.yaml", "--out", tmp_path / "alone").returncode == 0
    packages = str(Path(np.__file__).parents[1])
    words = [f"{OPEN_MPI}/bin/mpiexec", "--oversubscribe", "-n", processes, f"{OPEN_MPI}/bin/python", "-m", "netspec"]
    words += ["run", tmp_path / "tiny.yaml", "--devices", "cpu", "--out", tmp_path / "several"]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=LONGEST_S, check=False,
        env={**os.environ, **root, "PYTHONPATH": f"{ROOT}:{packages}"},
    )  # fmt: skip
    assert done.returncode == 0 and f"{processes} processes on " in done.stdout, done.stderr
    found, wanted = (listed(folder_of(tmp_path / name) / "checkpoints")[0] for name in ("several", "alone"))
    assert found.read_bytes() == wanted.read_bytes()
    assert losses(tmp_path / "several") == losses(tmp_path / "alone")
