"""Headless Chromium, driven by chromedriver over HTTP: the W3C's WebDriver protocol, as far as tests need it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "no chromium with its chromedriver (Debian: chromium chromium-driver)"
TAB, ENTER = "\ue004", "\ue007"


class Browser:
    """A window; ``run`` evaluates JavaScript in its page."""

    def __init__(self, session: str) -> None:
        self._session = session

    def call(self, path: str, **body: Any) -> Any:
        """A command of the protocol."""
        return _post(f"{self._session}/{path}", body)

    def open(self, url: str) -> None:
        """Load a page, and wait until it is there."""
        self.call("url", url=url)

    def run(self, script: str, *args: Any) -> Any:
        """What the body of a JavaScript function gives back."""
        return self.call("execute/sync", script=script, args=list(args))

    def until(self, script: str) -> Any:
        """Wait until an expression holds; four minutes at most."""
        code = """
            const done = arguments[0], test = () => { const found = (%s); found ? done(found) : setTimeout(test, 50) };
            test()"""
        return self.call("execute/async", script=code % script, args=[])

    def press(self, key: str) -> None:
        """Press and release a key."""
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self.call("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def chrome(self, command: str, **params: Any) -> Any:
        """A command of Chrome's own protocol."""
        return self.call("goog/cdp/execute", cmd=command, params=params)

    def size(self, width: int, height: int = 900) -> None:
        """The part of the window that shows the page: narrower than a window can be."""
        more = {"deviceScaleFactor": 1, "mobile": False}
        self.chrome("Emulation.setDeviceMetricsOverride", width=width, height=height, **more)

    def dark(self, wanted: bool) -> None:
        """Say that the reader prefers dark pages, or light ones."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}
        self.chrome("Emulation.setEmulatedMedia", features=[scheme])

    def complaints(self) -> list[str]:
        """What the console has got since this was last asked: errors of scripts, of the policy, of requests."""
        return [entry["message"] for entry in self.call("se/log", type="browser")]

    def picture(self, file: Path) -> None:
        """A screenshot of the whole page."""
        shot = self.chrome("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(b64decode(shot["data"]))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose profile lies in a folder; it is gone when the block is left."""
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    arguments += ["--disable-background-networking", f"--user-data-dir={folder / 'profile'}"]
    wanted = {"goog:chromeOptions": {"binary": CHROMIUM, "args": arguments}, "timeouts": {"script": 240_000}}
    command = [str(DRIVER), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        try:
            address = f"http://127.0.0.1:{_port(driver)}/session"
            wanted["goog:loggingPrefs"] = {"browser": "ALL"}
            session = _post(address, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(f"{address}/{session}")
            finally:
                _send(urllib.request.Request(f"{address}/{session}", method="DELETE"))
        finally:
            driver.kill()


def _port(driver: subprocess.Popen[str]) -> str:
    assert driver.stdout
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return found[1]
    raise AssertionError("chromedriver has not started")


def _post(url: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    return _send(urllib.request.Request(url, json.dumps(body).encode(), headers))


def _send(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from error
