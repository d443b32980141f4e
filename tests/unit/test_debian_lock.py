"""The lock: read, spelled, brought up to date. apt is a stand-in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nxc_core.errors import BuildError, ConfigError
from nxc_core.operation import Operation
from nxc_debian import apt, debs, lock, resolution
from nxc_debian.apt import Apt
from nxc_debian.lock import Lock, Package, PackageSet
from tests.operations import operation_in


def package(name: str, version: str = "1.0") -> Package:
    return Package(
        name=name,
        version=version,
        architecture="amd64",
        sha256=f"{name}-{version}".encode().hex().ljust(64, "0")[:64],
        size=10,
        filename=f"pool/main/{name[0]}/{name}_{version}_amd64.deb",
    )


class Mirror:
    """A stand-in for apt: what there is, and what was asked of it."""

    def __init__(self, offered: Mapping[str, str]) -> None:
        self.offered = dict(offered)
        self.resolved: list[tuple[str, ...]] = []
        self.updated = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(apt, "update", self._update)
        patch.setattr(apt, "release_epoch", lambda _apt: 1_700_000_000)
        patch.setattr(apt, "names", lambda _apt, _op: sorted(self.offered))
        patch.setattr(apt, "check_names", lambda _apt, _asked, _op: None)
        patch.setattr(apt, "resolve", self._resolve)
        patch.setattr(apt, "show", self._show)
        patch.setattr(
            debs, "stanzas", lambda _cache, _apt, packages, _op: [{"Package": p.name} for p in packages]
        )
        patch.setattr(debs, "keep_stanza", lambda *_: None)

    def _update(self, *_: Any, **__: Any) -> None:
        self.updated += 1

    def _resolve(
        self,
        _apt: Apt,
        asked: Sequence[str],
        _op: Operation,
        *,
        installed: Sequence[Mapping[str, str]] = (),
        pinned: Sequence[Package] = (),
    ) -> list[tuple[str, str]]:
        self.resolved.append(tuple(asked))
        there = {stanza["Package"] for stanza in installed}
        versions = self.offered | {p.name: p.version for p in pinned}
        wanted = ["libc6"] if "?essential" in asked else [n for n in asked if n in versions]
        wanted += [
            name.replace("linux-image-", "linux-image-6.1-")
            for name in asked
            if name.startswith("linux-image")
        ]
        return [(name, versions[name]) for name in wanted if name not in there]

    def _show(
        self, _apt: Apt, wanted: Sequence[tuple[str, str]], _op: Operation
    ) -> dict[Any, dict[str, str]]:
        found = {}
        for name, version in wanted:
            if self.offered.get(name) == version:
                p = package(name, version)
                found[(name, version)] = {
                    "Package": name,
                    "Version": version,
                    "Architecture": "amd64",
                    "SHA256": p.sha256,
                    "Size": "10",
                    "Filename": p.filename,
                }
        return found


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Mirror:
    names = [
        "libc6",
        "curl",
        "hello",
        "linux-image-cloud-amd64",
        "linux-image-6.1-cloud-amd64",
        "busybox-static",
    ]
    found = Mirror(dict.fromkeys(names, "1.0"))
    found.install(monkeypatch)
    return found


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    return operation_in(tmp_path, cache=tmp_path / "cache")


def resolver(tmp_path: Path, **more: Any) -> resolution.Resolver:
    cache = tmp_path / "cache" / "debian"
    found = Apt(root=cache / "apt", sources=(), architecture="amd64")
    return resolution.Resolver(cache=cache, apt=found, path=tmp_path / "nxc.lock", suite="bookworm", **more)


SETS = ("base", "kernel-cloud", "initrd")


def test_a_lock_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    given = Lock(
        suite="bookworm",
        architecture="amd64",
        epoch=5,
        packages={name: package(name) for name in ("a", "b")},
        sets={"base": PackageSet(asked=("x", "y"), packages=("a",))},
        compositions={"one.nix": {"r": PackageSet(asked=("b",), packages=("b",))}, "two.nix": {}},
    )
    text = lock.render(given)
    assert lock.render(lock.parse(text, tmp_path)) == text
    assert json.loads(text)["packages"]["a"]["version"] == "1.0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema": "nxc.debian.lock/1"}',
        '{"schema": "nxc.debian.lock/1", "suite": 3, "sets": 4}',
    ],
)
def test_a_damaged_lock_is_one_error_with_a_way_out(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        lock.parse(text, tmp_path / "nxc.lock")
    assert told.value.hint


def test_a_lock_of_a_newer_nxc_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this nxc reads"):
        lock.parse('{"schema": "nxc.debian.lock/9"}', tmp_path / "nxc.lock")


def test_a_lock_that_misses_a_package_is_refused(tmp_path: Path) -> None:
    given = Lock(suite="s", architecture="a", epoch=1, sets={"base": PackageSet(packages=("gone",))})
    with pytest.raises(ConfigError, match="names gone"):
        lock.parse(lock.render(given), tmp_path / "nxc.lock")


def test_first_everything_then_nothing_is_resolved(tmp_path: Path, mirror: Mirror, op: Operation) -> None:
    roles = {"server": ["curl"], "client": []}
    found = resolution.update(resolver(tmp_path), "composition.nix", roles, SETS, op)
    assert {name: p.version for name, p in found.packages.items()} == {
        "libc6": "1.0",
        "curl": "1.0",
        "busybox-static": "1.0",
        "linux-image-6.1-cloud-amd64": "1.0",
    }
    text = (tmp_path / "nxc.lock").read_text()
    mirror.resolved.clear()
    mirror.updated = 0
    resolution.update(resolver(tmp_path), "composition.nix", roles, SETS, op)
    assert (mirror.resolved, mirror.updated, (tmp_path / "nxc.lock").read_text()) == ([], 0, text)


def test_a_new_package_leaves_the_others_as_they_are(tmp_path: Path, mirror: Mirror, op: Operation) -> None:
    resolution.update(resolver(tmp_path), "composition.nix", {"server": ["curl"]}, SETS, op)
    mirror.offered = dict.fromkeys(mirror.offered, "2.0")
    mirror.resolved.clear()
    found = resolution.update(resolver(tmp_path), "composition.nix", {"server": ["curl", "hello"]}, SETS, op)
    assert mirror.resolved == [("curl", "hello")]
    assert {name: found.packages[name].version for name in ("libc6", "curl", "hello")} == {
        "libc6": "1.0",
        "curl": "1.0",
        "hello": "2.0",
    }


def test_what_no_role_asks_for_any_more_goes(tmp_path: Path, mirror: Mirror, op: Operation) -> None:
    resolution.update(resolver(tmp_path), "composition.nix", {"a": ["curl"], "b": ["hello"]}, SETS, op)
    found = resolution.update(resolver(tmp_path), "composition.nix", {"a": ["curl"]}, SETS, op)
    assert "hello" not in found.packages
    assert list(found.compositions["composition.nix"]) == ["a"]


def test_two_compositions_share_a_lock(tmp_path: Path, mirror: Mirror, op: Operation) -> None:
    resolution.update(resolver(tmp_path), "one.nix", {"server": ["curl"]}, SETS, op)
    resolution.update(resolver(tmp_path), "two.nix", {"server": ["hello"]}, SETS, op)
    mirror.resolved.clear()
    found = resolution.update(resolver(tmp_path), "one.nix", {"server": ["curl"]}, SETS, op)
    assert mirror.resolved == []
    assert {"curl", "hello"} <= found.packages.keys()


def test_relock_takes_the_mirrors_present_versions(tmp_path: Path, mirror: Mirror, op: Operation) -> None:
    resolution.update(resolver(tmp_path), "composition.nix", {"server": ["curl"]}, SETS, op)
    mirror.offered = dict.fromkeys(mirror.offered, "2.0")
    found = resolution.update(
        resolver(tmp_path, relock=True), "composition.nix", {"server": ["curl"]}, SETS, op
    )
    assert {p.version for p in found.packages.values()} == {"2.0"}


def test_another_release_needs_a_relock(tmp_path: Path, mirror: Mirror, op: Operation) -> None:
    resolution.update(resolver(tmp_path), "composition.nix", {}, SETS, op)
    other = resolution.Resolver(
        cache=tmp_path, apt=resolver(tmp_path).apt, path=tmp_path / "nxc.lock", suite="trixie"
    )
    with pytest.raises(ConfigError, match="bookworm, not trixie") as told:
        resolution.update(other, "composition.nix", {}, SETS, op)
    assert "--relock" in told.value.hint


def test_a_lock_that_cannot_be_written_says_so(tmp_path: Path, mirror: Mirror, op: Operation) -> None:
    (tmp_path / "nxc.lock").mkdir()
    with pytest.raises((BuildError, ConfigError), match=r"nxc\.lock"):
        resolution.update(resolver(tmp_path), "composition.nix", {}, SETS, op)
