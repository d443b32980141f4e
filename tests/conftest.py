"""What all tests share: isolated folders of their own, and one cache for what is costly to build."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.engines import Engine

_KEPT = ("NXC_TEST_",)
_ENGINES = ("docker_engine", "podman_engine")
_ROOT_FIXTURES = {"tmpfs", "user", *_ENGINES}


def pytest_configure() -> None:
    """Heed signals that nohup or a shell's background job ignore: what the tests start would inherit that."""
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGQUIT: signal.SIG_DFL,
    }
    for number, handler in usual.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, in sight, what cannot run here: it is counted as deselected, never as passed."""
    left_out = [item for item in items if _is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_left_out(item: pytest.Item) -> bool:
    if item.get_closest_marker("nixpkgs") and not os.environ.get("NXC_TEST_NIXPKGS"):
        return True
    if os.geteuid() == 0:
        return False
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("root") is not None or bool(_ROOT_FIXTURES & fixtures)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Show what an engine said when a test of it fails."""
    report = yield
    if report.failed:
        for name in _ENGINES:
            if engine := getattr(item, "funcargs", {}).get(name):
                report.sections.append((f"the log of {name}", engine.log()))
    return report


@pytest.fixture(scope="session", autouse=True)
def _runtime() -> Iterator[None]:
    """Give a run a runtime folder of its own, short enough for sockets; what is in it at the end stays."""
    given = tempfile.mkdtemp(prefix="nxr-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", given)
        yield
    for folder, _, _ in os.walk(given, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


@pytest.fixture(autouse=True)
def _isolate(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the user's own configuration, cache and variables out of tests."""
    home = tmp_path_factory.mktemp("home")
    foreign = ("NXC_", "DOCKER_", "CONTAINER_HOST")
    for name in [n for n in os.environ if n.startswith(foreign) and not n.startswith(_KEPT)]:
        monkeypatch.delenv(name)
    for name, folder in (("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config")):
        (home / folder).mkdir()
        monkeypatch.setenv(name, str(home / folder))
    for name in ("NIX_REMOTE", "COLUMNS", "LINES"):  # readline sets the latter where pytest runs on all cores
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache home that all live tests of a run share, so that one base layer serves all.

    NXC_TEST_CACHE keeps it between runs, on a developer's machine.
    """
    given = os.environ.get("NXC_TEST_CACHE")
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
        return Path(given)
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture
def cached(shared_cache: Path, monkeypatch: pytest.MonkeyPatch, _isolate: None) -> Path:
    """Let this test use the shared cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    return shared_cache


@pytest.fixture
def user() -> Iterator[pwd.struct_passwd]:
    """An ordinary user of this machine, with a home."""
    name = f"nxctest{secrets.token_hex(3)}"
    subprocess.run(["useradd", "--create-home", "--home-dir", f"/tmp/{name}", name], check=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", "--remove", name], check=False, capture_output=True)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """Run a dockerd of our own for all tests of a run, so that images are loaded once."""
    from tests.engines import dockerd

    with dockerd() as engine:
        yield engine


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[Engine]:
    """Run a podman service of our own for all tests of a run."""
    from tests.engines import podman

    with podman() as engine:
        yield engine
