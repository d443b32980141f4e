"""nxc's own options, as both bases understand them: Debian, and NixOS (a stand-in, or a real one given)."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.standin import materialise

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests/nix/options"
NIXPKGS = os.environ.get("NXC_TEST_NIXPKGS")
BASES = ["debian", "stand-in", *(["nixos"] if NIXPKGS else [])]

Facts = dict[str, Any]
SILENT: Facts = {
    "mounts": {},
    "ports": [],
    "needs": [],
    "exports": None,
    "users": {},
    "units": {},
    "warnings": [],
    "container": {"ports": [], "volumes": [], "memory": None, "cpus": None, "pids": None, "sysctls": {}},
}


def run_nix(home: Path, composition: Path, *more: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("NIX_")}
    (home / "conf").mkdir(exist_ok=True)
    return subprocess.run(
        ("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode")
        + ("--store", str(home / "store"), str(CASES / "facts.nix"))
        + ("--arg", "composition", str(composition), *more),
        env=variables | {"NIX_CONF_DIR": str(home / "conf"), "NIX_CONFIG": "build-users-group ="},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder to evaluate in, and the arguments that choose a base."""
    home = tmp_path_factory.mktemp("nix")
    if request.param == "debian":
        return home, []
    tree = Path(NIXPKGS) if NIXPKGS and request.param == "nixos" else materialise(home / "nixpkgs")
    return home, ["--arg", "nixpkgs", str(tree)]


@pytest.fixture(scope="module")
def facts(base: tuple[Path, list[str]]) -> Facts:
    """What tests/nix/options/roles.nix gives, evaluated once for each base."""
    home, chosen = base
    done = run_nix(home, CASES / "roles.nix", *chosen)
    assert done.returncode == 0, done.stderr
    found: Facts = json.loads(done.stdout)
    return found


def test_a_role_that_says_nothing_has_nothing_of_them(facts: Facts) -> None:
    assert {key: facts["silent"][key] for key in SILENT} == SILENT


def test_several_folders_are_exported_each_with_a_line_of_its_own(facts: Facts) -> None:
    role = facts["several"]
    assert role["exports"].splitlines() == [
        "/run/nxc-exports *(ro,no_subtree_check,fsid=0)",
        '"/run/nxc-exports/users" *(rw,no_subtree_check,no_root_squash,fsid=7801)',
        '"/run/nxc-exports/users/deep" *(rw,no_subtree_check,no_root_squash,fsid=7802)',
        '"/run/nxc-exports/with space\'s" *(rw,no_subtree_check,no_root_squash,fsid=7803)',
    ]
    assert role["ports"] == [2049]
    unit = role["units"]["nxc-shared-dirs"]
    assert unit["requiredBy"] == ["nfs-server.service"]
    assert "nfs-server.service" in unit["before"]
    commands = [
        shlex.split(line)
        for line in unit["script"].splitlines()
        if line.startswith(("prepare /", "prepare '", "show "))
    ]
    folders = ["/users", "/users/deep", "/with space's"]
    assert commands == [*(["prepare", path] for path in folders), *(["show", path] for path in folders)]
    assert {need["need"] for need in role["needs"]} == {"kernel", "mount"}
    assert role["warnings"] == []


def test_the_script_is_sound_shell(facts: Facts) -> None:
    for role in ("several", "homes", "starting"):
        for unit in facts[role]["units"].values():
            subprocess.run(("sh", "-n"), input=unit["script"], text=True, check=True)


def test_homes_are_made_on_the_server_alone_with_the_same_numbers(facts: Facts) -> None:
    server, client = facts["homes"], facts["visitor"]
    assert server["users"] == {
        "ada": {"uid": 2000, "home": "/users/ada", "createHome": True},
        "grace": {"uid": 4242, "home": "/users/grace", "createHome": True},
    }
    assert client["users"] == {
        "ada": {"uid": 2000, "home": "/users/ada", "createHome": False},
        "grace": {"uid": 2001, "home": "/users/grace", "createHome": False},
    }
    script = server["units"]["nxc-shared-dirs"]["script"].splitlines()
    made = [
        shlex.split(line)[:3]
        for line in script
        if line.startswith("make_home ") or line.startswith("make_home '")
    ]
    assert made == [["make_home", "ada", "/users/ada"], ["make_home", "grace", "/users/grace"]]
    # Before the folder can be seen by others.
    order = [line.split()[0] for line in script if line.split() and not line.startswith((" ", "#"))]
    assert order.index("make_home") < order.index("show")
    assert 'd "/users" 0755 root root -' in server["tmpfiles"]
    assert not any("/users" in rule for rule in client["tmpfiles"])


def test_a_mount_waits_for_its_first_use_and_for_its_server(facts: Facts) -> None:
    role = facts["visitor"]
    assert set(role["mounts"]) == {"/users", "/my data"}
    mount = role["mounts"]["/my data"]
    assert (mount["device"], mount["fsType"]) == ("storage.local:/my data", "nfs")
    assert {"x-systemd.automount", "nofail", "_netdev", "retry=10"} <= set(mount["options"])
    assert len(set(mount["options"])) == len(mount["options"])
    assert role["exports"] is None
    asking = {(need["need"], need["option"]) for need in role["needs"]}
    assert ("kernel", 'nxc.sharedDirs."/users"') in asking
    assert ("mount", 'fileSystems."/users"') in asking


def test_a_role_s_own_home_wins(facts: Facts) -> None:
    assert facts["elsewhere"]["users"]["ada"]["home"] == "/srv/ada"
    assert facts["elsewhere"]["users"]["ada"]["createHome"] is True


def test_commands_run_once_the_machine_has_its_name(facts: Facts) -> None:
    unit = facts["starting"]["units"]["nxc-post-boot"]
    assert unit["script"].split("\n") == ["set +e", "echo first", "echo second"]
    assert "nxc-node.service" in unit["after"]
    assert (unit["wantedBy"], "sysinit.target" in unit["before"]) == (["sysinit.target"], True)


def test_what_is_asked_of_a_container_is_told_and_no_more(facts: Facts) -> None:
    assert facts["contained"]["container"] == {
        "ports": ["80", "8443:443", "127.0.0.1:5353:53/udp", "[::1]:9000-9010:9000-9010"],
        "volumes": ["/data:/data:ro", "cache:/var/cache"],
        "memory": "512m",
        "cpus": 1.5,
        "pids": 500,
        "sysctls": {},
    }
    assert {key: facts["contained"][key] for key in SILENT if key != "container"} == {
        key: value for key, value in SILENT.items() if key != "container"
    }


def test_kernel_settings_are_the_machine_s_or_each_container_s_own(facts: Facts) -> None:
    """One by one, and those only that the role's author wrote."""
    role = facts["tuned"]
    asking: dict[str, set[str]] = {}
    for need in role["needs"]:
        asking.setdefault(need["need"], set()).add(
            need["option"].removeprefix("boot.kernel.sysctl.").strip('"')
        )
    assert asking == {
        "sysctl": {"net.core.rmem_max", "kernel.semaphores", "vm.swappiness", "kernel.kptr_restrict"},
        "namespaced-sysctl": {
            *("net.ipv4.ip_forward", "net/ipv4/conf/eth0.5/forwarding", "net.core.somaxconn"),
            *("kernel.sem", "kernel.shmmax", "fs.mqueue.msg_max"),
        },
    }
    assert role["container"]["sysctls"] == {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.eth0/5.forwarding": "0",
        "net.core.somaxconn": "4096",
        "kernel.sem": "250 32000 32 128",
        "kernel.shmmax": "1024",
        "fs.mqueue.msg_max": "20",
    }


def test_what_is_not_needed_is_accepted_with_the_reason(facts: Facts) -> None:
    names = ["wait-online", "root-sshKeys", "baseBootCommands", "qemu-script"]
    warnings = facts["asking"]["warnings"]
    assert [words.split(":")[0] for words in warnings] == [
        f"nxc.{name}.enable has no effect" for name in names
    ]
    assert facts["usual"]["warnings"] == []


def test_wrong_folders_are_refused_by_name(facts: Facts) -> None:
    refused = [words for words in facts["wrong"]["refusals"] if words.startswith("nxc.")]
    assert [words.split(":")[0] for words in refused] == [
        f'nxc.sharedDirs."{path}"' for path in ("/", "/both", '/quote"', "/slash/", "/up/../etc", "relative")
    ]
    assert any('"/neither" has no effect' in words for words in facts["wrong"]["warnings"])


def test_exports_that_others_cannot_reach_are_told(facts: Facts) -> None:
    assert "/srv *(rw)" in facts["mixed"]["exports"].splitlines()
    assert len(facts["mixed"]["exports"].split("\n/")) == 2
    (warning,) = facts["mixed"]["warnings"]
    assert "clients of NFS 4 reach only" in warning


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('nxc.users.names = [ "Ada Lovelace" ];', "nxc.users.names"),
        ('nxc.users = { names = [ "a" ]; prefixHome = "users"; };', "nxc.users.prefixHome"),
        ('nxc.sharedDirs."/a".server = "a b";', "nxc.sharedDirs"),
        ('nxc.sharedDirs."/a".exported = true;', "exported"),
        ('nxc.container.ports = [ "http" ];', "nxc.container.ports"),
        ('nxc.container.ports = [ "1:2:3:4" ];', "nxc.container.ports"),
        ('nxc.container.volumes = [ "data" ];', "nxc.container.volumes"),
        ('nxc.container.volumes = [ "/a:b" ];', "nxc.container.volumes"),
        ('nxc.container.memory = "much";', "nxc.container.memory"),
        ("nxc.container.cpus = 0;", "nxc.container.cpus"),
        ("nxc.container.pids = 0;", "nxc.container.pids"),
        ('nxc.container.sysctls."vm.x" = "1";', "nxc.container.sysctls"),
    ],
)
def test_wrong_types_are_refused(base: tuple[Path, list[str]], text: str, words: str) -> None:
    home, chosen = base
    composition = home / "wrong.nix"
    composition.write_text(f"{{ roles.a = {{ {text} }}; }}")
    done = run_nix(home, composition, *chosen)
    assert done.returncode != 0
    assert words in done.stderr


# The Debian base evaluates without knowing the flavour.
@pytest.mark.parametrize("base", BASES[1:], indirect=True)
def test_a_container_leaves_the_folders_to_its_platform(base: tuple[Path, list[str]]) -> None:
    home, chosen = base
    composition = home / "container.nix"
    composition.write_text(
        """{ roles = {
          server = { nxc.guest.kernel = false; nxc.sharedDirs."/users".export = true;
            nxc.users = { names = [ "ada" ]; prefixHome = "/users"; }; };
          client = { nxc.guest.kernel = false; nxc.sharedDirs."/users".server = "server"; };
        }; }"""
    )
    done = run_nix(home, composition, *chosen)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    server, client = found["server"], found["client"]
    assert (server["exports"], client["mounts"]) == (None, {})
    assert [need["need"] for need in (*server["needs"], *client["needs"])] == ["shared-dirs", "shared-dirs"]
    script = server["units"]["nxc-shared-dirs"]["script"]
    assert "make_home" in script
    assert "\nshow " not in script
