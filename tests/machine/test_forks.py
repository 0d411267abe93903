"""Work shared out to copies of a process: what comes of it is what one process gives, whatever becomes of a copy."""

import os
import signal
import subprocess
import sys
import time

import pytest
from cli_tools import MINI

SETTING = """
import os, signal, sys, threading, time
from netspec.machine import forks

forks.cores = lambda: {cores}
FIRST = os.getpid()
"""


def python(script, cores=3):
    made = subprocess.run(
        [sys.executable, "-c", SETTING.format(cores=cores) + script], capture_output=True, text=True, timeout=60
    )
    return made.stdout, made.stderr, made.returncode


def test_results_are_in_order_and_of_several_processes():
    script = """
def work(n):
    time.sleep(0.02)
    return n * n, os.getpid()
print(forks.shared_out(work, range(30)))
"""
    out, err, _ = python(script)
    found = eval(out)
    assert [square for square, _ in found] == [n * n for n in range(30)], err
    assert len({process for _, process in found}) == 3


@pytest.mark.parametrize(
    ("before", "cores", "items"),
    [
        ("", 1, 30),
        ("", 3, 10),
        ("threading.Thread(target=time.sleep, args=(30,), daemon=True).start()", 3, 30),
        ("def fork(): raise BlockingIOError(11, 'no more processes')\nos.fork = fork", 3, 30),
    ],
    ids=["one core", "few items", "threads", "no more processes"],
)
def test_one_process_does_all(before, cores, items):
    script = f"{before}\nprint(set(forks.shared_out(lambda n: os.getpid() == FIRST, range({items}))))"
    out, err, _ = python(script, cores)
    assert out == "{True}\n", err


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)", "return lambda: n"])
def test_what_a_copy_does_not_give_is_made_here(end):
    script = f"""
def work(n):
    time.sleep(0.02)
    if n > 6 and os.getpid() != FIRST:
        {end}
    return n
print(forks.shared_out(work, range(30)))
"""
    out, err, _ = python(script)
    assert out == f"{list(range(30))}\n" and not err


def test_what_it_raises_is_raised_here_and_once():
    script = """
def work(n):
    return 1 // (n - 22)
try:
    forks.shared_out(work, range(30))
except ZeroDivisionError:
    print("raised")
"""
    assert python(script) == ("raised\n", "", 0)


def test_what_is_printed_is_printed_once():
    script = "print('before')\nforks.shared_out(lambda n: print(f'{n} ', end=''), range(30))"
    out, _, _ = python(script)
    assert sorted(out.split()) == sorted(["before", *map(str, range(30))])


def test_an_interrupt_leaves_no_copy_behind(usual_interrupt, tmp_path):
    script = f"""
def work(n):
    if n:
        open(os.path.join({str(tmp_path)!r}, str(os.getpid())), "w").close()
        time.sleep(60)
forks.shared_out(work, range(30))
"""
    process = subprocess.Popen([sys.executable, "-c", SETTING.format(cores=3) + script], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while len(os.listdir(tmp_path)) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    pids = [int(name) for name in os.listdir(tmp_path)]
    assert len(pids) == 3
    process.send_signal(signal.SIGINT)
    process.wait(30)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_validate_says_the_same_by_one_process_and_by_several(tmp_path):
    for n in range(20):
        wrong = MINI.replace("units: 8", "unit: 8") if n % 7 == 3 else MINI.replace("units: 3", f"units: {n + 1}")
        (tmp_path / f"{n}.yaml").write_text(wrong)
    files = [*(str(tmp_path / f"{n}.yaml") for n in range(20)), str(tmp_path / "gone.yaml")]
    for more in ((), ("--json",)):
        script = f"from netspec.cli import main\nmain(['validate', *{files!r}, *{more!r}])"
        one, several = (python(script, cores) for cores in (1, 2))
        assert one == several and one[2] == 2 and "unknown key 'unit'" in one[0] + one[1]
