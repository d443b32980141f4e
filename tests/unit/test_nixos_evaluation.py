"""Evaluations in one process and in several, the flavours they are for, and what is made of their results."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nxc_core.errors import BuildError, ConfigError
from nxc_core.model import Guest, Kind
from nxc_core.paths import nix_dir
from nxc_nixos import document, expression, planning
from nxc_nixos.answers import Evaluated
from nxc_nixos.evaluation import divide
from nxc_nixos.options import NixosOptions
from nxc_nixos.stores import Store
from tests import nixos_bench
from tests.nixos_bench import GUEST, RAMDISK, Bench
from tests.standin import EXAMPLES, StandIn, flake_project, plain_project, set_variables, stand_in

NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/composition.nix"))
KINDS = {
    "ramdisk": GUEST,
    "rootfs-tar": Guest(root="ext4", seed="push"),
    "docker-archive": Guest(kernel=False, root="container"),
    "closure": Guest(share="9p"),
    "nfs-store": Guest(),
}


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("standin"))


@pytest.fixture(autouse=True)
def _nix(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if "standin" in request.fixturenames:
        set_variables(monkeypatch, request.getfixturevalue("standin").variables())
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# Several processes


@pytest.mark.parametrize(
    ("count", "processes", "sizes"),
    [
        (0, 2, []),
        (1, 8, [1]),
        (2, 8, [2]),
        (3, 8, [2, 1]),
        (3, 1, [3]),
        (5, 2, [3, 2]),
        (10, 4, [3, 3, 2, 2]),
        (5, 64, [2, 2, 1]),
        (20, 2, [5, 5, 5, 5]),
    ],
)
def test_roles_are_dealt_out(count: int, processes: int, sizes: list[int]) -> None:
    roles = [f"r{number}" for number in range(count)]
    groups = divide(roles, processes)
    assert [len(group) for group in groups] == sizes
    assert sorted(role for group in groups for role in group) == sorted(roles)


def compare(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Kind, guest: Guest) -> None:
    """Evaluate in one process and role by role, each from nothing, and compare."""
    found: list[Evaluated] = []
    for jobs, least in ((1, 2), (4, 1)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{jobs}"))
        monkeypatch.setattr("nxc_nixos.evaluation.ROLES_EACH", least)
        monkeypatch.setattr("nxc_nixos.evaluation.DIVIDED_FROM", 3 if jobs == 1 else 1)
        bench.options["jobs"] = jobs
        bench.events.clear()
        found.append(bench.evaluate(kind, guest))
        several = any("processes" in event.message for event in bench.events)
        assert several == (jobs > 1 and len(found[-1].parts) > 1), [e.message for e in bench.events]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_several_processes_give_the_same_derivations(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = plain_project(standin, tmp_path / name, name)
    options = {"nixpkgs": str(standin.nixpkgs)}
    compare(Bench(folder=folder, standin=standin, options=options), monkeypatch, tmp_path, RAMDISK, GUEST)


@pytest.mark.parametrize("kind", KINDS)
def test_so_does_every_kind(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    compare(nixos_bench.plain(standin, tmp_path / "three"), monkeypatch, tmp_path, Kind(kind), KINDS[kind])


def test_so_do_flakes_and_templates(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "many"
    source.mkdir()
    (source / "composition.nix").write_text(
        "{ helpers, ... }: { roles = helpers.makeMany ({ ... }: { }) 'node' 4"
        " // { other = { }; more = { environment.etc.x.text = 'x'; }; }; }".replace("'", '"')
    )
    bench = Bench(folder=flake_project(standin, tmp_path / "flake", source), standin=standin)
    compare(bench, monkeypatch, tmp_path, RAMDISK, GUEST)
    found = bench.evaluate()
    assert sorted(found.parts) == ["more", "node1", "other"], "four copies are evaluated once"
    assert {role.name for role in bench.read().roles} == {"more", "other", *(f"node{n}" for n in range(1, 5))}


@pytest.mark.nixpkgs
@pytest.mark.parametrize("name", NAMES)
def test_so_does_a_real_nixpkgs(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = plain_project(standin, tmp_path / name, name)
    options = {"nixpkgs": os.environ["NXC_TEST_NIXPKGS"]}
    compare(Bench(folder=folder, standin=standin, options=options), monkeypatch, tmp_path, RAMDISK, GUEST)


# What is evaluated for


def test_a_flavours_guest_is_known_to_the_library() -> None:
    for name, stated in expression.known_flavours().items():
        target = expression.find_target(Kind(stated["kind"]), to_guest(stated["guest"]))
        assert target.guest is None, f"{name} is taken for a stranger"


def to_guest(stated: dict[str, object]) -> Guest:
    names = {expression.to_camel_case_name(name): name for name in expression.guest_fields()}
    values = {names[key]: tuple(v) if isinstance(v, list) else v for key, v in stated.items()}
    return Guest(**values)  # type: ignore[arg-type]


def test_a_strangers_guest_is_described() -> None:
    guest = Guest(console="ttyS9", kernel_modules=("mine",))
    target = expression.find_target(RAMDISK, guest)
    assert (target.kind, target.guest) == (RAMDISK, guest)


@pytest.mark.parametrize(
    "text", ["plain", 'a "quote"', "a ${b}", "a \\ b", "$${c}", "line\nbreak", "''", "\r\n"]
)
def test_texts_reach_nix_as_they_are(standin: StandIn, text: str) -> None:
    assert standin.evaluate(expression.quote(text)) == text
    assert standin.evaluate(expression.spell({"a": [text, None, 1]})) == {"a": [text, None, 1]}


def test_a_folder_with_a_strange_name(standin: StandIn, tmp_path: Path) -> None:
    bench = nixos_bench.plain(standin, tmp_path / 'a "b" ${c} d')
    bench.evaluate()
    assert bench.roles() == ["alpha", "beta", "gamma"]
    bench.edit('"b"', '"other"')
    bench.evaluate()
    assert "beta" in bench.roles()


def test_a_role_that_is_wrong_is_named(standin: StandIn, tmp_path: Path) -> None:
    bench = nixos_bench.plain(standin, tmp_path / "three")
    bench.edit('text = "b"', "text = 3 + [ ]")
    with pytest.raises(ConfigError) as told:
        bench.evaluate()
    assert "composition.nix:9" in told.value.message


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pure": True, "impure": True}, "exclude"),
        ({"jobs": 0}, "jobs"),
        ({"flags": "'"}, "flags"),
        ({"setup_params": ("x",)}, "NAME=VALUE"),
    ],
)
def test_options_that_cannot_be_meant(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        NixosOptions(**given)  # type: ignore[arg-type]


def test_the_library_is_where_it_is_looked_for() -> None:
    assert (nix_dir() / "driver.nix").is_file()


# What is built


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that is elsewhere than its paths say."""
    physical = tmp_path / "nix/store"
    (physical / "top").mkdir(parents=True)
    (physical / "top" / "kernel-params").write_text("quiet\nconsole=ttyS0\n")
    (physical / "kernel").write_text("")
    (physical / "initrd").write_text("")
    return Store(uri=str(tmp_path), physical=physical)


GOOD = {
    "schema": "nxc.nixos/1",
    "kind": "ramdisk",
    "roles": {"a": {"toplevel": "/nix/store/top", "init": "/nix/store/top/init", "boot": "x"}},
    "boot": {"x": {"kernel": "/nix/store/kernel", "initrd": "/nix/store/initrd"}},
    "files": {},
}


def write(store: Store, content: object) -> str:
    (store.physical / "doc").write_text(content if isinstance(content, str) else json.dumps(content))
    return "/nix/store/doc"


def test_a_document_becomes_an_artifact(store: Store) -> None:
    found = document.to_artifact(store, document.load(store, write(store, GOOD)), RAMDISK)
    boot = found.roles["a"]
    assert boot.kernel == store.physical / "kernel"
    assert boot.cmdline == "quiet console=ttyS0 init=/nix/store/top/init"
    assert boot.init == "/nix/store/top/init"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({**GOOD, "schema": "nxc.nixos/2"}, "reads up to nxc.nixos/1"),
        ({**GOOD, "schema": "else/1"}, "not nxc.nixos/1"),
        ({"roles": {}}, "no build document"),
        ("no json", "no build document"),
    ],
)
def test_a_document_that_is_not_understood(store: Store, content: object, told: str) -> None:
    with pytest.raises(BuildError) as error:
        document.load(store, write(store, content))
    assert told in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({**GOOD, "kind": "closure"}, "asked for ramdisk, built closure"),
        ({**GOOD, "boot": {}}, "cannot be used"),
        ({**GOOD, "files": {"x": "/nix/store/gone"}}, "lacks"),
        ({**GOOD, "roles": {"a": {}}}, "cannot be used"),
    ],
)
def test_a_document_that_does_not_fit(store: Store, content: dict[str, object], told: str) -> None:
    with pytest.raises(BuildError) as error:
        document.to_artifact(store, content, RAMDISK)
    assert told in error.value.message


def test_what_nix_would_do_is_read() -> None:
    text = """these 2 derivations will be built:
  /nix/store/2jh5zf8snflzjgqk1bsdcnjnlv0g8cvf-etc.drv
  /nix/store/2jh5zf8snflzjgqk1bsdcnjnlv0g8cvf-system.drv
these 1 paths will be fetched (0.1 MiB download):
  /nix/store/2jh5zf8snflzjgqk1bsdcnjnlv0g8cvf-hello-2.10
warning: nothing
"""
    assert planning.read_missing(text) == ["build etc", "build system", "fetch hello-2.10"]
