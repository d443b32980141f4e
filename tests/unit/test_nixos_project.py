"""Where a composition belongs: flakes of every kind, plain folders, and what is chosen for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nxc_core.building import existing
from nxc_core.choosing import choose_base
from nxc_core.config import find_root, load_settings
from nxc_core.errors import ConfigError
from nxc_nixos import project
from nxc_nixos.options import NixosOptions
from tests import nixos_bench
from tests.nixos_bench import THREE, Bench
from tests.standin import StandIn, flake_project, set_variables, stand_in

LOCK = {"nodes": {"root": {"inputs": {"nixpkgs": "nixpkgs"}}, "nixpkgs": {}}, "root": "root", "version": 7}


# Choosing the base


def test_debian_where_nothing_pins_nixpkgs(tmp_path: Path) -> None:
    choice = choose_base(tmp_path / "composition.nix")
    assert (choice.name, choice.reason) == ("debian", "nothing pins nixpkgs here")
    asked = choose_base(tmp_path / "composition.nix", "nixos")
    assert (asked.name, asked.reason) == ("nixos", "asked for")


@pytest.mark.parametrize(
    ("files", "base", "reason"),
    [
        ({"flake.lock": json.dumps(LOCK)}, "nixos", "flake.lock pins nixpkgs"),
        ({"flake.lock": json.dumps({**LOCK, "nodes": {"root": {}}})}, "debian", "nothing"),
        ({"flake.lock": "not json"}, "debian", "nothing"),
        ({"nxc.json": '{"nixpkgs": "/x"}'}, "nixos", "nxc.json pins nixpkgs"),
        ({"nxc.json": '{"composition": "composition.nix"}'}, "debian", "nothing"),
        ({"nxc.json": "{}", "flake.nix": "{}"}, "nixos", "nxc.json and flake.nix"),
        ({"flake.nix": '{ inputs.nixpkgs.url = "x"; }'}, "nixos", "flake.nix asks for nixpkgs"),
        ({"flake.nix": "{ outputs = _: { }; }"}, "debian", "nothing"),
    ],
)
def test_the_base_follows_the_files(tmp_path: Path, files: dict[str, str], base: str, reason: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    choice = choose_base(tmp_path / "composition.nix")
    assert (choice.name, reason in choice.reason) == (base, True), choice


def test_options_of_one_base_mean_that_base(tmp_path: Path) -> None:
    source = tmp_path / "composition.nix"
    assert choose_base(source, given=["nixos"]).name == "nixos"
    assert choose_base(source, given=["nixos", "debian"]).name == "debian"
    assert choose_base(source, "debian", given=["nixos"]).name == "debian"
    (tmp_path / "flake.lock").write_text(json.dumps(LOCK))
    assert choose_base(source, given=["debian"]).name == "nixos"


def test_a_folder_may_hold_several_compositions(tmp_path: Path) -> None:
    (tmp_path / "compositions.nix").write_text("{ }")
    assert existing(tmp_path) == tmp_path / "compositions.nix"
    (tmp_path / "composition.nix").write_text("{ }")
    assert existing(tmp_path) == tmp_path / "composition.nix"


def test_a_flake_above_is_not_the_compositions_unless_a_project_file_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "flake.lock").write_text(json.dumps(LOCK))
    (tmp_path / "flake.nix").write_text("{ }")
    source = tmp_path / "src" / "composition.nix"
    source.parent.mkdir()
    source.write_text("{ }")
    assert choose_base(source).name == "debian"
    (tmp_path / "nxc.toml").write_text("")
    assert choose_base(source).name == "nixos"
    assert project.find(source, NixosOptions()).flake == tmp_path


def test_the_project_file_of_nixos_compose_is_read(tmp_path: Path) -> None:
    (tmp_path / "nxc.json").write_text('{"composition": "compositions.nix", "default_flavour": "vm"}')
    (tmp_path / "deep").mkdir()
    assert find_root(tmp_path / "deep") == tmp_path
    settings = load_settings(tmp_path / "deep", environ={})
    assert settings.get("flavour") == ("vm", str(tmp_path / "nxc.json"))
    assert settings.text("composition") == str(tmp_path / "compositions.nix")
    (tmp_path / "nxc.toml").write_text('flavour = "docker"\n')
    assert load_settings(tmp_path, environ={}).text("flavour") == "docker"


@pytest.mark.parametrize("text", ["{", "[]", '{"composition": 3}'])
def test_a_wrong_project_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "nxc.json").write_text(text)
    with pytest.raises(ConfigError) as told:
        load_settings(tmp_path, environ={})
    assert str(tmp_path / "nxc.json") in told.value.message


# Which nixpkgs


def test_nothing_says_which_nixpkgs(tmp_path: Path) -> None:
    (tmp_path / "composition.nix").write_text("{ }")
    with pytest.raises(ConfigError) as told:
        project.find(tmp_path / "composition.nix", NixosOptions())
    assert "nothing says which nixpkgs" in told.value.message
    assert "-o nixos.nixpkgs=" in told.value.hint
    assert "inputs.nixpkgs.url =" in told.value.hint, "as it stands"


@pytest.mark.parametrize(
    ("given", "told"),
    [(".", "is not a tree of nixpkgs"), ("github:NixOS/nixpkgs/nixos-23.05", "is not pinned")],
)
def test_a_nixpkgs_that_will_not_do(tmp_path: Path, given: str, told: str) -> None:
    (tmp_path / "composition.nix").write_text("{ }")
    with pytest.raises(ConfigError) as error:
        project.find(tmp_path / "composition.nix", NixosOptions(nixpkgs=given))
    assert told in error.value.message


def test_a_pinned_reference_will_do(tmp_path: Path) -> None:
    (tmp_path / "composition.nix").write_text("{ }")
    given = f"github:NixOS/nixpkgs/{'a' * 40}"
    found = project.find(tmp_path / "composition.nix", NixosOptions(nixpkgs=given))
    assert (found.nixpkgs, found.nixpkgs_folder) == (given, None)


# Evaluated, in every way


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return stand_in(tmp_path_factory.mktemp("standin"))


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder with a composition alone."""
    folder = tmp_path / "three"
    folder.mkdir()
    (folder / "composition.nix").write_text(THREE)
    return folder


@pytest.fixture(autouse=True)
def _nix(standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_variables(monkeypatch, standin.variables())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


PIN = """{
  inputs.nixpkgs.url = "path:@nixpkgs@";
  outputs = { self, nixpkgs }: { };
}
"""


def pin_only(standin: StandIn, folder: Path, three: Path) -> Bench:
    """Make a project whose flake only pins nixpkgs."""
    shutil.copytree(three, folder)
    (folder / "flake.nix").write_text(PIN.replace("@nixpkgs@", str(standin.nixpkgs)))
    return Bench(folder=folder, standin=standin)


def test_flake_pin_and_plain_give_one_derivation(standin: StandIn, three: Path, tmp_path: Path) -> None:
    composed = Bench(folder=flake_project(standin, tmp_path / "a", three), standin=standin)
    pinned = pin_only(standin, tmp_path / "b", three)
    upstream = nixos_bench.plain(standin, tmp_path / "c")
    upstream.options = {}
    (upstream.folder / "nxc.json").write_text(json.dumps({"nixpkgs": str(standin.nixpkgs)}))
    found = [bench.evaluate().package for bench in (composed, pinned, upstream)]
    assert len(set(found)) == 1, found
    for bench in (composed, pinned):
        assert bench.roles() == ["alpha", "beta", "gamma"]
        assert (bench.folder / "flake.lock").exists(), "locked as nix itself would"
        bench.edit('"b"', '"changed"')
        bench.evaluate()
        assert bench.roles() == ["beta"]


def test_a_flake_in_git_clean_dirty_and_with_a_file_that_git_does_not_know(
    standin: StandIn, three: Path, tmp_path: Path
) -> None:
    bench = Bench(folder=flake_project(standin, tmp_path / "git", three, commit=True), standin=standin)
    clean = bench.evaluate()
    bench.roles()
    bench.edit('"b"', '"dirty"')
    dirty = bench.evaluate()
    assert (dirty.parts["alpha"], bench.roles()) == (clean.parts["alpha"], ["beta"])
    assert dirty.parts["beta"] != clean.parts["beta"]
    (bench.folder / "more.nix").write_text("{ }")
    bench.edit('"dirty"; };', '"dirty"; imports = [ ./more.nix ]; };')
    with pytest.raises(ConfigError) as told:
        bench.evaluate()
    assert "more.nix" in told.value.message
    assert "git add" in told.value.hint
    standin.run("git", "add", "more.nix", cwd=bench.folder)
    bench.evaluate()


def test_a_file_that_git_comes_to_know_makes_another_fingerprint(
    standin: StandIn, three: Path, tmp_path: Path
) -> None:
    flake_project(standin, tmp_path / "git", three, commit=True)
    standin.run("git", "worktree", "add", "-q", str(tmp_path / "tree"), cwd=tmp_path / "git")
    for folder in (tmp_path / "git", tmp_path / "tree"):
        bench = Bench(folder=folder, standin=standin)
        (folder / "new.nix").write_text("{ }")
        before = bench.fingerprint()
        assert bench.fingerprint() == before
        standin.run("git", "add", "new.nix", cwd=folder)
        assert bench.fingerprint() != before


def test_a_composition_that_git_does_not_know(standin: StandIn, three: Path, tmp_path: Path) -> None:
    bench = Bench(folder=flake_project(standin, tmp_path / "git", three, commit=True), standin=standin)
    standin.run("git", "rm", "-q", "--cached", "composition.nix", cwd=bench.folder)
    with pytest.raises(ConfigError) as told:
        bench.read()
    assert "git does not know composition.nix" in told.value.message
    assert told.value.hint == "git add composition.nix"


def test_nxcs_own_folder_is_not_part_of_a_flake(standin: StandIn, three: Path, tmp_path: Path) -> None:
    bench = Bench(folder=flake_project(standin, tmp_path / "own", three), standin=standin)
    before = bench.evaluate()
    (bench.folder / ".nxc").mkdir()
    (bench.folder / ".nxc" / "disk").write_text("large")
    bench.edit(
        "roles = {",
        'roles = { seen.environment.etc."x".text = toString (builtins.attrNames (builtins.readDir ./.));',
    )
    after = bench.evaluate()
    assert after.parts["alpha"] == before.parts["alpha"]
    text = standin.run(
        "nix", "show-derivation", "-r", str(after.parts["seen"].derivations["toplevel"]).partition("!")[0]
    )
    assert "composition.nix flake.lock flake.nix" in text
    assert ".nxc composition.nix" not in text


def test_pure_is_nix_own_pure_mode(standin: StandIn, three: Path, tmp_path: Path) -> None:
    bench = Bench(folder=flake_project(standin, tmp_path / "pure", three), standin=standin)
    before = bench.evaluate()
    bench.options["pure"] = True
    assert bench.evaluate().package == before.package
    bench.edit('"b"', "toString builtins.currentTime")
    with pytest.raises(ConfigError):
        bench.evaluate()


def test_an_input_is_overridden_for_once(standin: StandIn, three: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(standin.nixpkgs, other)
    release = next(path for path in other.rglob("*.nix") if "23.05.stand-in" in path.read_text())
    release.write_text(release.read_text().replace("23.05.stand-in", "other"))
    bench = pin_only(standin, tmp_path / "b", three)
    before = bench.evaluate()
    lock = (bench.folder / "flake.lock").read_text()
    bench.options["flags"] = f"--override-input nixpkgs path:{other}"
    assert bench.evaluate().package != before.package
    assert (bench.folder / "flake.lock").read_text() == lock


def test_one_of_several_compositions(standin: StandIn, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    (folder / "src").mkdir(parents=True)
    (folder / "compositions.nix").write_text(
        "{ foo = { roles.a = { }; }; bar = { roles = { b = { }; c = { }; }; }; }"
    )
    bench = Bench(folder=folder, standin=standin, options={"nixpkgs": str(standin.nixpkgs)})
    source = folder / "compositions.nix"
    with pytest.raises(ConfigError) as told:
        bench.base().read(source, bench.op())
    assert "`bar', `foo'" in told.value.message
    bench.options["composition"] = "bar"
    assert [role.name for role in bench.base().read(source, bench.op()).roles] == ["b", "c"]
    bench.options["composition"] = ""
    assert [role.name for role in bench.base().read(source, bench.op()).roles] == ["bar.b", "bar.c", "foo.a"]


def test_a_dry_run_writes_nothing(standin: StandIn, three: Path, tmp_path: Path) -> None:
    bench = pin_only(standin, tmp_path / "dry", three)
    base, op = bench.base(), bench.op(dry=True)
    before = sorted(standin.store.rglob("*.drv"))
    request = bench.request(base, op)
    assert [role.name for role in base.examine(request, op).roles] == ["alpha", "beta", "gamma"]
    told = base.plan(request, op)
    assert any(line.startswith("beta: toplevel") for line in told), told
    assert sorted(path.name for path in bench.folder.iterdir()) == ["composition.nix", "flake.nix"]
    assert sorted(standin.store.rglob("*.drv")) == before
    base, op = bench.base(), bench.op()
    base.build(bench.request(base, op), op)
    assert base.plan(bench.request(base, op), op) == []


def test_a_folder_whose_name_looks_like_a_commit_is_a_folder(tmp_path: Path) -> None:
    found = tmp_path / f"nixpkgs-{'0123456789' * 4}"
    (found / "nixos" / "lib").mkdir(parents=True)
    (found / "nixos" / "lib" / "eval-config.nix").write_text("")
    (tmp_path / "composition.nix").write_text("")
    said = project.find(tmp_path / "composition.nix", NixosOptions(nixpkgs=f"path:{found}"))
    assert said.nixpkgs_folder == found
