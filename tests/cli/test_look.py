"""``info``, ``plan``, ``graph``, ``show`` and ``schema``: what they say about real specs."""

import json
import re

import pytest
import yaml
from cli_tools import MINI, netspec


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini.yaml").write_text(MINI)
    return tmp_path


def test_info_states_the_figures_of_alexnet():
    said = netspec("info", "alexnet")
    assert said.code == 0 and said.err == ""
    assert "60,965,224 parameters, 659,272 neurons" in said.out
    assert "parameters by type: conv 3.8 %, dense 96.2 %" in said.out
    assert re.search(r"^ 4 layers +57.2 MiB$", said.out, re.MULTILINE)
    for number in ("10.6 MiB", "2.25 MiB", "1.00 MiB"):
        assert number in said.out
    assert re.search(r"^ after buffer reuse +\d+ MiB +\d+ MiB$", said.out, re.MULTILINE)


def test_info_as_json_adds_up():
    data = json.loads(netspec("info", "alexnet", "--json").out)
    assert data["parameters"] == sum(row["parameters"] for row in data["rows"]) == 60_965_224
    assert data["crossing_bytes"] == sum(one["bytes"] for one in data["crossings"]) == 60_030_976
    assert {one["layer"] for one in data["crossings"]} == {"conv3", "fc6", "fc7", "fc8"}
    assert sum(data["parameters_by_layer"].values()) == pytest.approx(1)
    assert data["forward_flops"] < data["backward_flops"]
    for device in ("left", "right"):
        kinds = data["memory"][device]
        plain = sum(value for kind, value in kinds.items() if kind not in ("arena", "total"))
        assert 0 < kinds["total"] < plain


def test_info_counts_what_is_frozen_and_what_averages_take():
    said = netspec("info", "alexnet", "--set", "train.freeze=[conv1, '*.bias']", "--set", "train.ema={}")
    biases = 96 + 256 + 384 + 384 + 256 + 4096 + 4096 + 1000
    assert f"60,965,224 parameters ({11 * 11 * 3 * 96 + biases:,} of them frozen)" in said.out
    assert re.search(r"^ average +1\d\d MiB +1\d\d MiB$", said.out, re.MULTILINE)


def test_info_of_another_phase_batch_and_binding():
    predict = ("info", "mini.yaml", "--phase", "predict", "--json")
    one = json.loads(netspec(*predict, "--batch", 1).out)
    four = json.loads(netspec(*predict, "--batch", 4, "--devices", "cpu").out)
    assert (one["batch"], four["batch"]) == (1, 4)
    assert one["backward_flops"] == 0
    assert four["forward_flops"] == 4 * one["forward_flops"]


BF16 = ("--set", "train.precision=bf16")


def test_bf16_shows_dtypes_and_memory_of_gpus_that_store_it(monkeypatch):
    said, plain = netspec("info", "alexnet", *BF16), netspec("info", "alexnet")
    assert said.out.splitlines()[1].endswith("stored in bfloat16, all else in float32")
    assert re.search(r"^ conv1 +conv +left +55 x 55 x 48 +bfloat16 +17,472 ", said.out, re.MULTILINE)
    assert re.search(r"^ loss +softmax_loss +left +1000 +float32 ", said.out, re.MULTILINE)
    assert "dtype" not in plain.out and "precision" not in plain.out
    narrow, wide = (json.loads(netspec("info", "alexnet", "--json", *more).out) for more in (BF16, ()))
    assert (narrow["storage"], wide["storage"]) == ("bfloat16", "float32")
    for device in ("left", "right"):
        assert 2 * narrow["memory"][device]["activation"] == pytest.approx(wide["memory"][device]["activation"], 0.01)
    assert 2 * narrow["crossing_bytes"] == wide["crossing_bytes"]
    monkeypatch.setenv("NETSPEC_CPU_BF16", "off")
    on_cpus = netspec("info", "alexnet", "--devices", "cpu", *BF16).out
    assert "CPUs compute in float32" in on_cpus and "dtype" not in on_cpus
    assert json.loads(netspec("info", "alexnet", "--devices", "cpu", "--json", *BF16).out)["storage"] == "float32"


def test_a_plan_in_bf16_shows_what_steps_write_and_their_products():
    said = netspec("plan", "quickstart", *BF16).out
    assert re.search(r"^ conv1.forward@left .* bfloat16 +bfloat16 to float32 *$", said, re.MULTILINE)
    assert re.search(r"^ relu1.forward@left .* bfloat16 *$", said, re.MULTILINE)
    assert re.search(r"^ conv1.weight@left.update .* float32, bfloat16, int32 *$", said, re.MULTILINE)
    assert json.loads(netspec("plan", "quickstart", "--json", *BF16).out)["storage"] == "bfloat16"
    assert "writes" not in netspec("plan", "quickstart").out


def test_of_many_steps_in_one_the_first_two_are_named():
    words = ("plan", "alexnet", "--devices", "cuda")
    names = [line[:80].strip() for line in netspec(*words).out.splitlines() if " more" in line]
    assert "conv1.d_weight@left.finite + conv1.d_bias@left and 12 more" in " ".join(names)
    steps = {step["name"]: step for step in json.loads(netspec(*words, "--json").out)["steps"]}
    assert len(steps["conv1.d_weight@left.finite"]["fused"]) == 13


def test_rules_in_a_pipe_are_no_wider_than_a_page():
    lines = netspec("plan", "alexnet", "--devices", "cpu").out.splitlines()
    assert max(len(line) for line in lines if "─" in line) <= 100 < max(map(len, lines))


def test_lines_of_tables_in_a_pipe_are_whole_and_without_colour():
    said = netspec("info", "alexnet")
    assert "\x1b" not in said.out
    assert all(line == line.rstrip() for line in said.out.splitlines())
    assert max(map(len, said.out.splitlines())) > 80


def test_plan_lists_steps_with_queues_and_what_they_wait_for():
    said = netspec("plan", "mini.yaml")
    assert said.code == 0
    row = next(line for line in said.out.splitlines() if line.startswith(" fc2.x@left.fetch1 "))
    assert row.split()[1:4] == ["left", "copy", "relu1.forward@right"]
    assert re.search(r"^\d+ steps on 4 queues$", said.out, re.MULTILINE)
    assert "kernels" not in said.out


def test_plan_for_devices_shows_kernels():
    said = netspec("plan", "mini.yaml", "--devices", "cpu:0,cpu:1", "--phase", "eval")
    assert said.code == 0
    assert "relu:forward_cpu (plain)" in said.out
    assert re.search(r"^ fc1.forward@left \+ relu1 ", said.out, re.MULTILINE)
    apart = netspec("plan", "mini.yaml", "--devices", "cpu:0,cpu:1", "--phase", "eval", "--set", "train.fuse=false")
    assert re.search(r"^ relu1.forward@left ", apart.out, re.MULTILINE)


def test_plan_as_json_is_the_plan():
    data = json.loads(netspec("plan", "mini.yaml", "--phase", "predict", "--json").out)
    assert data["phase"] == "predict" and data["devices"] == ["left", "right"]
    assert {step["queue"] for step in data["steps"]} == {"compute", "copy"}
    lowered = json.loads(netspec("plan", "mini.yaml", "--devices", "cpu", "--json").out)
    assert any(step["passes"] for step in lowered["steps"])


RANKS = ("--devices", "0/cpu:0,1/cpu:0")


def test_info_and_plan_tell_what_crosses_the_network():
    said = netspec("info", "alexnet", *RANKS)
    sends = "rank 0 (left) sends 28.6 MiB in 9 steps and receives 28.6 MiB in 8 steps"
    assert said.code == 0 and sends in said.out.splitlines()
    said = netspec("plan", "alexnet", *RANKS)
    row = next(line for line in said.out.splitlines() if line.startswith(" conv3.x@left.send1 "))
    assert row.split()[1:5] == ["right", "net", "pool2.forward@right", "10.6"]
    assert f"{sends}: " in said.out and "rank 1 (right) sends" in said.out
    programs = json.loads(netspec("plan", "mini.yaml", *RANKS, "--json").out)
    assert [one["plan"]["devices"] for one in programs] == [["left"], ["right"]]


@pytest.mark.parametrize(("devices", "told"), [
    ("0/cpu:0,cpu:1", "error: --devices 0/cpu:0,cpu:1 names a rank in '0/cpu:0' and none in 'cpu:1'"),
    ("0/cpu:0,2/cpu:0", "ranks count from 0, and no device lies in rank 1"),
    ("0/cpu:0", "--devices names 1 (0/cpu:0), the spec has 2 (left, right)"),
])  # fmt: skip
def test_ranks_that_are_amiss_are_refused(devices, told):
    said = netspec("plan", "mini.yaml", "--devices", devices)
    assert said.code == 1 and told in said.err


@pytest.mark.parametrize(("name", "start"), [("net.svg", "<svg"), ("net.dot", "digraph"), ("net.mmd", "flowchart")])
def test_graph_writes_a_picture(folder, name, start):
    said = netspec("graph", "mini.yaml", "-o", name)
    assert said == (0, f"wrote {name}\n", "")
    assert start in (folder / name).read_text()[:500]


def test_graph_without_a_file_prints_mermaid():
    assert "flowchart" in netspec("graph", "mini.yaml").out


def test_graph_as_json_marks_crossings(folder):
    data = json.loads(netspec("graph", "mini.yaml", "--json").out)
    assert [edge["target"] for edge in data["edges"] if edge["crossing"]] == ["fc2"]
    both = netspec("graph", "mini.yaml", "--json", "-o", "net.svg")
    assert json.loads(both.out) == data and both.err == "wrote net.svg\n"


def test_show_prints_the_file_as_it_is():
    assert netspec("show", "mini.yaml").out == MINI


def test_show_resolved_is_a_spec_with_origins(folder):
    said = netspec("show", "mini.yaml", "--set", "train.solver.momentum=0.8", "--batch", 4)
    (folder / "again.yaml").write_text(said.out)
    assert netspec("validate", "again.yaml").code == 0
    lines = {line.split(":")[0].strip(): line for line in said.out.splitlines()}
    assert lines["momentum"].rstrip().endswith("# --set train.solver.momentum=0.8")
    assert "mini.yaml:8" in said.out


def test_show_as_json_is_the_resolved_spec():
    data = json.loads(netspec("show", "mini.yaml", "--json").out)
    assert data["train"]["solver"]["momentum"] == 0.9
    assert [layer["name"] for layer in data["layers"]] == ["fc1", "relu1", "fc2", "loss"]


def test_schema_accepts_a_shipped_spec_with_the_jsonschema_package_alone():
    import jsonschema

    schema = json.loads(netspec("schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(netspec("show", "quickstart").out))
