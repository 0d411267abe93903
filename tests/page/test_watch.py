"""The page that a server refreshes: what is made when, who is answered, and what runs may become meanwhile."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path

import pytest
from cli_tools import netspec, started

from netspec.errors import NetspecError
from netspec.page import background, server, watched
from netspec.page.background import Request
from netspec.page.document import SCRIPT, Section
from netspec.page.server import application
from netspec.page.watched import Watched
from netspec.rundir.lock import Lock


class Asked:
    """Takes the place of the process that makes sections: notes what it is asked for."""

    def __init__(self, take) -> None:
        self.take, self.busy, self.requests = take, False, list[Request]()

    def ready(self, training: bool) -> bool:
        return not self.busy

    def make(self, request: Request) -> None:
        self.requests.append(request)

    def close(self) -> None:
        pass


@pytest.fixture
def copy(runs, tmp_path) -> Path:
    return Path(shutil.copytree(runs[0], tmp_path / "tiny" / "one"))


@pytest.fixture
def page(copy, monkeypatch) -> Watched:
    monkeypatch.setattr(watched, "Background", Asked)
    monkeypatch.setattr(watched, "_PAUSE", 0)
    return Watched([copy], {"devices": "cpu"})


def asked(page: Watched) -> list[Request]:
    return page._background.requests


def cut(run: Path, lines: int) -> list[str]:
    """Take the metrics back to so many lines; the lines that are taken away."""
    file = run / "metrics.jsonl"
    all_lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(all_lines[:lines]))
    return all_lines[lines:]


def body(page: Watched, anchor: str) -> str:
    return page.sections()[anchor].body


def test_what_follows_the_metrics_is_made_at_once_and_the_rest_is_asked_for(page, copy):
    made = page.sections()
    waiting = [anchor for anchor, section in made.items() if "being made" in section.body]
    assert [anchor for anchor in made if anchor not in waiting] == ["results", "data", "curves"]
    assert asked(page) == [Request([str(copy)], ["tiny"], False, {"devices": "cpu"}, ())]
    page._background.take(Section("filters", "Kernels", "<b>made</b>"))
    assert body(page, "filters") == "<b>made</b>" and "<b>made</b>" in page.document()


def test_sections_are_made_again_where_metrics_have_grown(page, copy):
    later = cut(copy, 3)
    first = dict(page.sections())
    assert page.sections() == first
    with (copy / "metrics.jsonl").open("a") as file:
        file.write(later[0][:20])
        file.flush()
        assert page.sections()["results"] == first["results"]  # half a line is none
        file.write(later[0][20:] + "".join(later[1:]))
    changed = {anchor for anchor, section in page.sections().items() if section.version != first[anchor].version}
    assert changed == {"results", "data", "curves"}


def test_they_rest_after_they_have_been_made(page, copy, monkeypatch):
    later = cut(copy, 3)
    monkeypatch.setattr(watched, "_PAUSE", 1e6)
    first = dict(page.sections())
    with (copy / "metrics.jsonl").open("a") as file:
        file.writelines(later)
    assert page.sections() == first


def test_what_needs_the_network_is_made_again_of_a_better_checkpoint_and_at_the_end(page, copy):
    (kept,) = {watched._best(copy)}
    aside = copy / "checkpoints" / str(kept)
    aside.rename(copy / "aside")
    lock = Lock(copy)
    later = cut(copy, 3)
    page.sections()
    assert "training goes on" in page.status
    (copy / "aside").rename(aside)
    with (copy / "metrics.jsonl").open("a") as file:
        file.writelines(later[:1])
    page.sections()
    page._background.busy = True
    lock.release()
    page.sections()
    assert [one.training for one in asked(page)] == [True, True] and "training has ended" in page.status
    page._background.busy = False
    page.sections()  # though nothing has changed since
    assert [one.training for one in asked(page)] == [True, True, False]
    page.sections()
    assert len(asked(page)) == 3


@pytest.mark.parametrize("harm", ["gone", "damaged", "emptied"])
def test_a_run_that_is_gone_or_damaged_is_a_line(page, copy, harm):
    page.sections()
    if harm == "gone":
        shutil.rmtree(copy)
    elif harm == "emptied":
        for file in copy.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    else:
        (copy / "metrics.jsonl").write_bytes(b'{"event": "iteration", "iter\n\xff\xfe\n[]\n')
        (copy / "start.json").write_text("{")
    told = body(page, "results") + body(page, "curves")
    assert {"gone": "folder is not there", "damaged": "metrics.jsonl:1: ", "emptied": "nothing to draw"}[harm] in told
    assert 'class="note"' in page.document()


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(NetspecError, match="no such run"):
        Watched([tmp_path], {})


# The process that makes sections ------------------------------------------------------------------------------------


def test_the_process_makes_all_that_is_not_live_but_measures_nothing_beside_training(runs):
    request = Request([str(runs[0])], ["one"], True, {"devices": "cpu"})
    command = [sys.executable, "-m", background.__name__]
    done = subprocess.run(command, input=json.dumps(asdict(request)), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    made = [Section(**json.loads(line)) for line in done.stdout.splitlines()]
    anchors = ["architecture", "filters", "predictions", "neighbours", "confusion", "timeline", "memory", "spec"]
    assert [one.anchor for one in made] == anchors
    assert [one.anchor for one in made if "<img" not in one.body] == ["timeline", "spec"]
    assert "measured once the run has ended" in made[5].body


def test_a_process_that_dies_is_told_on_the_terminal(monkeypatch, capfd):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(background, "_PAUSE", 1e6)
    dying = background.Background(lambda section: None)
    assert dying.ready(training=True)
    dying._run(Request([], [], False))
    assert dying.ready(training=False) and not dying.ready(training=True)  # it rests beside training
    assert "netspec watch: sections cannot be made: " in capfd.readouterr().err


# The server ---------------------------------------------------------------------------------------------------------


def get(page, path, host="127.0.0.1:8012", method="GET", names=frozenset({"localhost"})):
    """Status, headers and body of a request."""
    told = {}

    def start_response(status, headers):
        told.update(status=int(status[:3]), headers=dict(headers))

    parts = application(page, set(names))(
        {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": host}, start_response
    )
    return told["status"], told["headers"], b"".join(parts).decode()


def test_the_routes(page):
    status, headers, text = get(page, "/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8" and text.startswith("<!DOCTYPE")
    assert "script-src 'self'" in headers["Content-Security-Policy"] and "no-store" in headers["Cache-Control"]
    assert '<noscript><meta http-equiv="refresh"' in text and f'src="{SCRIPT}"' in text and '<p id="status"' in text
    state = json.loads(get(page, "/versions")[2])
    assert state["status"] == page.status and list(state["sections"]) == list(page.sections())
    for anchor, version in state["sections"].items():
        assert f'id="{anchor}-body" data-version="{version}"' in text
        assert get(page, f"/section/{anchor}")[2] == page.sections()[anchor].body
    assert get(page, f"/{SCRIPT}")[1]["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["", "/x", "/section/", "/section/x", "/../page.css", "/section/../../spec.yaml", "/page.css", "/\0", "//"]
)
def test_nothing_else_is_served(page, path):
    status, _, text = get(page, path)
    assert (status, text) == (404, "no such page\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_is_for_reading(page, method):
    status, headers, _ = get(page, "/", method=method)
    assert status == 405 and headers["Allow"] == "GET, HEAD"


def test_head_has_the_headers_alone(page):
    assert get(page, "/", method="HEAD")[1:] == (get(page, "/")[1], "")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(host, 200) for host in ("localhost", "LOCALHOST:9000", "127.0.0.1", "127.0.0.1:80", "[::1]:8012")],
        *[(host, 403) for host in ("", "evil.example", "localhost.evil.example:8012", "127.0.0.1.evil.example", "a@b")],
        *[(host, 403) for host in ("localhost:8012:1", "[::1", "localhost:port", "evil.example@localhost")],
    ],
)
def test_a_name_that_is_not_its_own_is_refused(page, host, status):
    assert get(page, "/versions", host)[0] == status


def test_a_fault_shows_the_client_nothing(page, monkeypatch, capsys):
    monkeypatch.setattr(page, "document", lambda: 1 / 0)
    status, _, text = get(page, "/")
    assert status == 500 and "Zero" not in text and "Traceback" not in text
    assert capsys.readouterr().err == "netspec watch: '/': ZeroDivisionError: division by zero\n"


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command(copy, number, code, usual_interrupt):
    with started(
        *("-m", "netspec", "watch", copy, "--port", "0", "--devices", "cpu"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        found = re.fullmatch(r"(http://127\.0\.0\.1:(\d+)/) has the page; Ctrl-C ends it\n", line)
        assert found, (line, process.stderr.read())
        with urllib.request.urlopen(found[1], timeout=60) as answer:
            assert answer.headers["Server"] == "netspec" and b"Live: " in answer.read()
        taken = netspec("watch", copy, "--port", found[2])
        assert taken.code == 1 and f"127.0.0.1:{found[2]}: address already in use (--port 0" in taken.err
        process.send_signal(number)
        assert process.wait(60) == code
        assert process.stderr.read().split() == (["interrupted"] if number == signal.SIGINT else [])


def test_where_sigint_is_ignored_a_line_says_what_ends_it(copy, usual_interrupt):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    command = ("-m", "netspec", "watch", copy, "--port", "0", "--devices", "cpu")
    with started(*command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().endswith(f"/ has the page; kill {process.pid} ends it\n")
        process.terminate()
        assert process.wait(60) == 143


def test_another_address_than_this_machine_is_warned_of(copy, monkeypatch):
    monkeypatch.setattr(server, "serve", lambda *args: None)
    monkeypatch.setattr("os.nice", lambda more: 0)
    said = netspec("watch", copy, "--host", "0.0.0.0", "--port", "0")
    assert said.code == 130 and said.err.startswith("warning: whoever reaches 0.0.0.0 can read these runs")
    assert "warning" not in netspec("watch", copy, "--host", "localhost", "--port", "0").err
    for wrong in ("no such host", "a" * 70 + ".b", "..", ""):
        said = netspec("watch", copy, "--host", wrong)
        assert said.code == 1 and said.err.startswith(f"error: {wrong}:8012: "), wrong


def test_without_waitress_one_line_says_what_to_type(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "waitress", None)
    assert netspec("watch", copy) == (1, "", "error: netspec watch serves by waitress: pip install 'netspec[watch]'\n")
