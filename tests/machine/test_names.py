"""Names of any bytes: every file and stream takes them, and a shell reads them back."""

import os
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netspec.machine.names import ESCAPED, shell_word

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)


@given(st.text() | NAMES.map(os.fsdecode))
def test_every_text_can_be_written(text):
    for encoding in ("utf-8", "ascii", "latin-1", "cp437"):
        text.encode(encoding, ESCAPED)


def test_bytes_that_are_no_text_are_told_apart():
    assert os.fsdecode(b"caf\xe9 \xff/x").encode("utf-8", ESCAPED) == rb"caf\xe9 \xff/x"
    assert "caf\xe9 \u732b".encode("ascii", ESCAPED) == b"caf? ?"


def test_words_that_need_nothing_stay_as_they_are():
    assert shell_word("runs/a-1.b") == "runs/a-1.b"
    assert shell_word("runs/it's") == "'runs/it'\"'\"'s'"
    assert shell_word(os.fsdecode(b"r\xff'\\")) == r"$'r\xff\'\\'"


@pytest.mark.skipif(not shutil.which("bash"), reason="asks bash")
@example(b"\xff0a")
@example(b"a\\xff\n'\xff")
@example("\u202e\u0085\x1b".encode())
@given(NAMES)
def test_a_shell_reads_the_name(name):
    command = f"printf %s {shell_word(os.fsdecode(name))}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert (done.stdout, done.stderr) == (name, b"")
