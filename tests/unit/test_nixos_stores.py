"""Which store is used, where its paths lie, and what keeps results: with real stores."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from nxc_core.errors import PreflightError
from nxc_nixos import stores
from nxc_nixos.options import NixosOptions
from nxc_nixos.stores import Store
from tests.nix_here import Here, nix_in, variables

HASH = "0" * 32
NOBODY = 65534
SHUT_IN = (
    "substituters =\nbuild-users-group =\nsandbox = true\nsandbox-fallback = false\n"
    "extra-sandbox-paths = /bin=/usr/bin /usr /lib=/usr/lib /lib64=/usr/lib64"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    for name, value in variables(tmp_path / "nix").items():
        monkeypatch.setenv(name, value)
    return nix_in(tmp_path)


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """A store in a home directory, whose paths are /nix/store all the same."""
    for name in ("NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NIX_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("NIX_CONFIG", SHUT_IN)
    return nix_in(tmp_path, NixosOptions(store=str(tmp_path / "own")))


def collect(here: Here) -> None:
    subprocess.run(
        ["nix-store", "--gc"], env=here.nix.environment, check=True, capture_output=True, timeout=60
    )


# Choosing


def test_a_folder_is_a_store_whose_paths_lie_below_it(tmp_path: Path) -> None:
    store = stores.choose(str(tmp_path), {"NIX_REMOTE": "daemon"})
    assert (store.uri, store.logical) == (str(tmp_path), "/nix/store")
    assert store.physical == tmp_path / "nix/store"
    assert store.state == tmp_path / "nix/var/nix"
    assert store.is_moved
    assert not store.is_daemon


def test_the_environment_chooses_as_it_does_for_nix_itself(tmp_path: Path) -> None:
    assert stores.choose(None, {"NIX_REMOTE": "daemon"}).is_daemon
    assert stores.choose(None, {"NIX_REMOTE": str(tmp_path)}).physical == tmp_path / "nix/store"
    own = stores.choose(None, {"NIX_STORE_DIR": "/a/store", "NIX_STATE_DIR": "/a/state"})
    assert (own.uri, own.logical, own.physical, own.state) == (
        "local",
        "/a/store",
        Path("/a/store"),
        Path("/a/state"),
    )
    assert not own.is_moved


def test_a_user_without_rights_gets_the_daemon_or_a_store_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    environ = {"HOME": str(tmp_path), "NIX_DAEMON_SOCKET_PATH": str(tmp_path / "socket")}
    at_home = stores.choose(None, environ)
    assert at_home.physical == tmp_path / ".local/share/nxc/nix/nix/store"
    assert "no daemon" in at_home.why
    (tmp_path / ".local/share/nix/root/nix/store").mkdir(parents=True)
    assert stores.choose(None, environ).physical == tmp_path / ".local/share/nix/root/nix/store"
    (tmp_path / "socket").touch()
    assert stores.choose(None, environ).uri == "daemon"


@pytest.mark.parametrize(
    ("uri", "physical", "state"),
    [
        ("local?root=/a", "/a/nix/store", "/a/nix/var/nix"),
        ("/a?state=/b", "/a/nix/store", "/b"),
        ("local?real=/c", "/c", "/nix/var/nix"),
        ("auto", "/nix/store", "/nix/var/nix"),
        ("unix:///run/x", "/nix/store", "/nix/var/nix"),
    ],
)
def test_stores_as_nix_writes_them(uri: str, physical: str, state: str) -> None:
    store = stores.parse(uri, {})
    assert (store.physical, store.state) == (Path(physical), Path(state))


def test_a_store_on_another_machine_is_refused() -> None:
    with pytest.raises(PreflightError, match="another machine"):
        stores.parse("ssh-ng://server", {})


# Paths


def test_paths_are_located_and_named_back(tmp_path: Path) -> None:
    store = stores.choose(str(tmp_path), {})
    path = f"/nix/store/{HASH}-x/bin/y"
    assert store.locate(path) == tmp_path / f"nix/store/{HASH}-x/bin/y"
    assert store.name(store.locate(path)) == path
    assert store.owner(path) == store.owner(store.locate(path)) == f"/nix/store/{HASH}-x"
    assert store.locate("/nix/store") == store.physical
    assert store.locate("/nix/storehouse") == Path("/nix/storehouse")
    with pytest.raises(ValueError, match="not in the store"):
        store.owner("/etc/passwd")


def test_a_machines_own_store_lies_where_it_says() -> None:
    store = Store(uri="local")
    path = f"/nix/store/{HASH}-x"
    assert store.locate(path) == Path(path)
    assert store.name(path) == path


# Building and keeping


def test_links_keep_what_was_built_and_no_more(here: Here) -> None:
    one, two = here.derivations(*(f'{{ name = "{name}"; script = "echo > $out"; }}' for name in "ab"))
    links = here.home / "links"
    built = here.build(one, two, links=links)
    assert list(built) == [one, two]
    assert here.nix.store.holds(built.values())
    collect(here)
    assert here.nix.store.holds(built.values())
    assert here.build(two, links=links) == {two: built[two]}
    collect(here)
    assert here.nix.store.holds([built[two]])
    assert not here.nix.store.holds([built[one]])
    shutil.rmtree(links)
    collect(here)
    assert not here.nix.store.holds([built[two]])


def test_a_moved_store_builds_and_links_keep_its_results(moved: Here) -> None:
    inner = '{ name = "inner"; script = "echo hello > $out"; }'
    (path,) = moved.derivations(f'{{ name = "outer"; script = "cat ${{make {inner}}} > $out"; }}')
    assert path.startswith("/nix/store/")
    built = moved.build(path, links=moved.home / "links")[path]
    assert built.startswith("/nix/store/")
    assert moved.nix.store.locate(built).read_text() == "hello\n"
    assert not Path(built).exists(), "the machine's own store is left alone"
    collect(moved)
    assert moved.nix.store.holds([built])
    shutil.rmtree(moved.home / "links")
    collect(moved)
    assert not moved.nix.store.holds([built])


@pytest.fixture
def of_nobody() -> Iterator[Path]:
    """A folder of an ordinary user's, where pytest's own would be closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="nxc-store-"))
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    shutil.rmtree(folder)


@pytest.mark.root
def test_an_ordinary_user_builds_in_a_store_at_home(
    of_nobody: Path, tmp_path: Path, moved: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(of_nobody))
    monkeypatch.setenv("NIX_CONF_DIR", str(of_nobody))
    monkeypatch.delenv("NIX_REMOTE", raising=False)
    access = os.access  # as that user sees the machine's own store
    monkeypatch.setattr(os, "access", lambda path, mode: "/nix/" not in str(path) and access(path, mode))
    monkeypatch.setenv("NIX_DAEMON_SOCKET_PATH", str(of_nobody / "none"))
    found = nix_in(tmp_path)
    assert found.nix.store.physical == of_nobody / ".local/share/nxc/nix/nix/store"
    programs = of_nobody / "bin"
    programs.mkdir()
    for name in ("nix-instantiate", "nix-store"):
        words = f"exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {found.nix.program(name)}"
        (programs / name).write_text(f'#!/bin/sh\n{words} "$@"\n')
        (programs / name).chmod(0o755)
    here = evolve(found, nix=evolve(found.nix, programs=programs), home=of_nobody)
    (path,) = here.derivations('{ name = "mine"; script = "id -u > $out"; }')
    built = here.build(path)[path]
    lying = here.nix.store.locate(built)
    assert lying.read_text().strip() != "0"
    assert lying.stat().st_uid == NOBODY
