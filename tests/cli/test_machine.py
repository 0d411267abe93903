"""``devices`` and ``doctor``: what they find, and that what is missing comes with a remedy."""

import json

import pytest
from cli_tools import netspec

from netspec.report import health


def test_devices_lists_the_cpu_at_least():
    rows = json.loads(netspec("devices", "--json").out)
    assert rows[-1]["name"] == "cpu:0" and "core" in rows[-1]["description"]
    assert "cpu:0" in netspec("devices").out


def test_doctor_finds_this_machine_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    said = netspec("doctor")
    assert said.code == 0, said
    assert said.out.splitlines()[1].split()[:2] == ["ok", "python"]
    assert "compiled and run on the CPU" in said.out and "\x1b" not in said.out
    assert str(tmp_path) in said.out


def test_doctor_as_json():
    data = json.loads(netspec("doctor", "--json").out)
    assert [finding["name"] for finding in data["findings"]] == list(health.CHECKS)


def test_what_is_broken_is_told_and_the_exit_code_says_so(monkeypatch):
    def broken():
        raise RuntimeError("no such luck")

    monkeypatch.setattr(health, "CHECKS", {"kernels": broken})
    said = netspec("doctor")
    assert said.code == 1 and "broken  kernels" in said.out and "RuntimeError: no such luck" in said.out


@pytest.mark.parametrize("folder", ["/proc/none"])
def test_a_cache_that_cannot_be_written_has_a_remedy(folder, monkeypatch):
    monkeypatch.setenv("NETSPEC_CACHE_DIR", folder)
    finding = health.CHECKS["kernel cache"]()
    assert finding.status == "remark" and folder in finding.text and finding.remedy == "set NETSPEC_CACHE_DIR"


def test_the_state_of_gpus_is_told_in_words(monkeypatch):
    from netspec.device import gpus

    card = gpus.Gpu("A Card", 8 * 2**30, (9, 0))
    monkeypatch.setattr(gpus, "gpus", lambda: ())
    assert health.CHECKS["GPUs"]().status == "remark"
    monkeypatch.setattr(gpus, "gpus", lambda: (card,))
    monkeypatch.setattr(gpus, "obstacle", lambda: "install netspec[cuda13]")
    finding = health.CHECKS["GPUs"]()
    assert (finding.status, finding.text) == ("broken", "cuda:0 A Card (8.00 GiB)")
    assert finding.remedy == "install netspec[cuda13]"
    monkeypatch.setattr(gpus, "obstacle", lambda: None)
    assert health.CHECKS["GPUs"]().status == "ok"
