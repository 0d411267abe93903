"""What holds for all tests: how many examples hypothesis tries, and that layers registered by one file go with it."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest


def asks_for_slow(config: pytest.Config) -> bool:
    """Whether ``-m`` selects slow tests."""
    words = config.option.markexpr or ""
    return bool(re.search(r"\bslow\b", words)) and not re.search(r"\bnot\s+slow\b", words)


def pytest_configure(config: pytest.Config) -> None:
    from netspec.machine.garbage import COLLECTED_AFTER

    gc.set_threshold(*COLLECTED_AFTER)
    os.environ["NETSPEC_CPU_BF16"] = "off"  # CPUs do bf16 alike, whatever the machine; some tests say otherwise
    config.add_cleanup(_own_state())
    if "PYTEST_XDIST_WORKER" in os.environ:  # the cores have work: compile workers would only cost their imports
        from netspec.kernels import parallel

        parallel._MOST = 1
    if find_spec("hypothesis"):  # which the tests of a GPU, in a bare checkout, do without
        from hypothesis import HealthCheck, settings

        unhurried = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
        settings.register_profile("quick", max_examples=50, **unhurried)
        settings.register_profile("thorough", max_examples=10_000, **unhurried)
        settings.load_profile("thorough" if asks_for_slow(config) else "quick")


def _own_state() -> Callable[[], None]:
    """Plugins that tests name are trusted by them alone; what removes the folder that says so."""
    folder = tempfile.mkdtemp(prefix="netspec-state-")
    os.environ["NETSPEC_STATE_DIR"] = folder
    return lambda: shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A property is a quick test and a slow one: with ``-m slow`` it is tried on many more examples."""
    for item in items if asks_for_slow(config) else ():
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("slow")


@pytest.fixture(scope="module", autouse=True)
def own_layers() -> Iterator[None]:
    """What a file of tests registers is unknown to the next one, which may register it anew."""
    from netspec.registry import plugin_code, registry

    before, loaded = set(registry.registered().values()), set(plugin_code._loaded)
    yield
    for module in set(plugin_code._loaded) - loaded:
        plugin_code._discard(module)
    for one in registry._registries.values():
        own = f"{one.package}."  # the built-in ones of a registry that came meanwhile stay: they are not imported again
        kept = {cls for cls in one.types().values() if cls in before or cls.__module__.startswith(own)}
        for name in [name for name, cls in one.types().items() if cls not in kept]:
            del one._types[name]


@pytest.fixture
def usual_interrupt():
    """SIGINT as a terminal's programs have it, here and in children: pytest may have been started with it ignored.

    Shells start background jobs so. For the test alone: meanwhile Ctrl-C reaches the job.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
