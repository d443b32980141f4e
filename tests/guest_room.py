"""A root and network namespaces of its own, in which nix/guest runs for real."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

ROOT = Path(__file__).resolve().parents[1]
NODE = "/guest/nxc-node"
ONE, TWO, THREE = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
# What a card needs is here; the other end of its cable is in a network namespace of its own.
_ROOM = """
set -e
mount -t tmpfs room {root}
cd {root}
mkdir -p usr proc sys dev etc/nxc run/systemd nxc tmp var/lib guest held given
mount --rbind /usr usr
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount --bind {guest} guest
mount --bind {stage} given
cp {work}/* held
touch run/systemd/container
add_card() {{
  unshare --net sleep 60 &
  other=$!
  until [ "$(readlink proc/$other/ns/net)" != "$(readlink proc/self/ns/net)" ]; do sleep 0.05; done
  ip link add "$1" type veth peer name other
  ip link set other netns $other
}}
inside() {{ chroot {root} "$@"; }}
{script}
"""


@frozen
class Room:
    """A place where nxc-node runs as root of what is around it, and of nothing of this machine."""

    work: Path

    def run(self, script: str, **documents: Any) -> list[str]:
        """Run shell that ends well; ``documents`` are at /held/<name> within. Return its lines."""
        done = self.attempt(script, **documents)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def attempt(self, script: str, **documents: Any) -> subprocess.CompletedProcess[str]:
        """Run shell that may fail."""
        held, root = self.work / "held", self.work / "root"
        for folder in (held, root):
            folder.mkdir(exist_ok=True)
        (held / "hosts").write_text("192.0.2.9 of-the-engine\n")
        for name, content in documents.items():
            (held / name).write_text(json.dumps(content))
        (stage := self.work / "stage").mkdir(exist_ok=True)
        text = _ROOM.format(root=root, guest=ROOT / "nix/guest", stage=stage, work=held, script=script)
        return subprocess.run(
            (
                *("unshare", "--map-root-user", "--mount", "--net", "--uts", "--pid", "--fork"),
                *("--kill-child", "sh", "-c", text),
            ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def document(*interfaces: dict[str, Any], node: str = "server", instance: str = "first") -> dict[str, Any]:
    return {
        "schema": "nxc.node/1",
        "instance": instance,
        "node": node,
        "role": "web",
        "hosts": {"server": ["10.9.0.1"], "client": ["10.9.0.2"]},
        "interfaces": list(interfaces),
        "host_key": "",
        "authorized_keys": [],
        "parameters": {"a": 1},
    }


def only_card(address: str) -> dict[str, Any]:
    return {"mac": "", "addresses": [address], "gateway": None, "nameservers": []}


def card(mac: str, *addresses: str, **more: Any) -> dict[str, Any]:
    return {"mac": mac, "addresses": list(addresses), "gateway": None, "nameservers": [], **more}


def routes(lines: list[str]) -> set[str]:
    return {" ".join(word for word in line.split() if word not in ("onlink", "linkdown")) for line in lines}
