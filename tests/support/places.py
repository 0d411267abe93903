"""Where the project and its tests lie."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
PLUGINS = TESTS / "plugins"
