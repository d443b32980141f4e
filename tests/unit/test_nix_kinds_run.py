"""The shell in a kind of image, really run: builders, activation, and the mount of a shared store."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.kinds import NIX, SYSTEMD, evaluate


def builder(name: str) -> str:
    """Return the build of the package that brings a unit, with the files it reads."""
    wanted = f'(lib.findFirst (p: p.name == "{name}") null config.systemd.packages).text'
    text: str = evaluate("ramdisk", wanted)
    return re.sub(r"/nix/store/[a-z0-9]{32}-([\w.-]+)(?=[\s/]|$)", rf"{NIX}/guest/\1", text)


@pytest.mark.parametrize("name", ["nxc-node", "nxc-sshd"])
def test_what_debian_has_is_fitted_to_nixos(name: str, tmp_path: Path) -> None:
    """No path of Debian's stays in what a unit starts."""
    subprocess.run(("bash", "-euc", builder(name)), env={**os.environ, "out": str(tmp_path)}, check=True)
    unit = (tmp_path / f"lib/systemd/system/{name}.service").read_text()
    started = re.findall(r"^Exec\w+=(.*)$", unit, flags=re.MULTILINE)
    assert started
    for command in started:
        absolute = [word for word in command.split() if word.startswith("/")]
        assert absolute
        assert all(word.startswith((str(tmp_path), "/fake/")) for word in absolute)
        assert all(Path(word).exists() for word in absolute if word.startswith(str(tmp_path)))
    if name == "nxc-node":
        script = (tmp_path / "lib/nxc/nxc-node").read_text()
        assert re.search(r"^export PATH=/fake/coreutils/bin:.*/fake/jq/bin:", script, flags=re.MULTILINE)
        assert (tmp_path / "lib/nxc/node.jq").is_file()
    else:
        assert "SetEnv PATH=" in (tmp_path / "lib/nxc/sshd_config").read_text()


def test_a_node_s_own_name_is_left_to_its_addresses(tmp_path: Path) -> None:
    """What a role adds to /etc/hosts stays; what NixOS says of the machine's own name goes."""
    text: str = evaluate("ramdisk", 'config.environment.etc."nxc/hosts.extra".source.text')
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 localhost\n127.0.0.2 mine\n::1 mine\n\n10.0.0.9 other\n")
    text = re.sub(r"/nix/store/\S+", str(hosts), text)
    subprocess.run(("bash", "-euc", text), env={**os.environ, "out": str(tmp_path / "extra")}, check=True)
    assert (tmp_path / "extra").read_text() == "10.0.0.9 other\n"


def mount_store(tmp_path: Path, words: str, fails: int = 0) -> tuple[list[str], str]:
    """Run what mounts a shared store; return the calls of mount and what it says."""
    script: str = evaluate("nfs-store", "config.boot.initrd.postMountCommands", later=False)
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    calls.touch()
    for name, text in {
        "cat": f"echo '{words}'",
        "sleep": "exit 0",
        "mount": f'echo "$@" >>{calls}; [ "$(wc -l <{calls})" -gt {fails} ]',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "targetRoot": str(tmp_path / "root")}
    whole = f"fail() {{ exit 9; }}\n{script}"
    done = subprocess.run(
        ("sh", "-c", whole), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return calls.read_text().splitlines(), done.stdout


def test_a_shared_store_is_mounted(tmp_path: Path) -> None:
    calls, said = mount_store(
        tmp_path, "quiet nxc.store=10.0.0.1:/srv/store nxc.store-options=vers=4.2,soft", 2
    )
    root = tmp_path / "root"
    assert said == ""
    assert (
        calls[:3]
        == [f"-i -t nfs -o ro,nolock,addr=10.0.0.1,vers=4.2,soft 10.0.0.1:/srv/store {root}/nix/.ro-store"]
        * 3
    )
    assert calls[3].startswith(f"-t overlay -o lowerdir={root}/nix/.ro-store,upperdir=")
    assert calls[3].endswith(f"{root}/nix/store")
    assert (root / "nix/.rw-store/work").is_dir()


def test_a_shared_store_may_have_an_address_of_ipv6(tmp_path: Path) -> None:
    calls, _ = mount_store(tmp_path, "nxc.store=[fd00::1]:/store")
    assert calls[0].split()[4:6] == ["ro,nolock,addr=fd00::1", "[fd00::1]:/store"]


@pytest.mark.parametrize(
    ("words", "said"),
    [("quiet", "no nxc.store=ADDRESS:/FOLDER"), ("nxc.store=10.0.0.1:/store", "cannot be mounted")],
)
def test_a_shared_store_that_is_not_there_is_said(tmp_path: Path, words: str, said: str) -> None:
    calls, heard = mount_store(tmp_path, words, fails=99)
    assert heard.startswith("nxc: failed: ")
    assert said in heard
    assert not any("overlay" in call for call in calls)


def test_systemd_runs_the_same_lines_below_its_own_root() -> None:
    scripted: str = evaluate("nfs-store", "config.boot.initrd.postMountCommands")
    unit = evaluate("nfs-store", "config.boot.initrd.systemd.services.nxc-store", role=SYSTEMD)
    ours = scripted.replace("$targetRoot", "/sysroot").replace("\n  fail\n", "\n  exit 1\n")
    assert [
        line.strip()
        for line in ours.replace("    fail\n", "    exit 1\n").replace("; fail;", "; exit 1;").splitlines()
    ] == [line.strip() for line in unit["script"].splitlines()[1:]]
    assert "network-online.target" in unit["after"]
    assert "initrd-fs.target" in unit["before"]
