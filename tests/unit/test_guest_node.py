"""nix/guest/nxc-node as in a container: run for real in namespaces of its own, with a root of its own."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
NODE = "/guest/nxc-node"
# What a card needs is here; the other end of its cable is in a network namespace of its own.
_ROOM = """
set -e
mount -t tmpfs room {root}
cd {root}
mkdir -p usr proc sys dev etc/nxc run/systemd nxc tmp var/lib guest held
mount --rbind /usr usr
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount --bind {guest} guest
cp {work}/* held
touch run/systemd/container
add_card() {{
  unshare --net sleep 60 &
  other=$!
  until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
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
        text = _ROOM.format(root=root, guest=ROOT / "nix/guest", work=held, script=script)
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


def test_a_mounted_document_names_the_node(room: Room) -> None:
    script = f"""
    cp held/node nxc/node.json
    mount --bind nxc/node.json nxc/node.json
    mount -o remount,bind,ro nxc/node.json
    inside {NODE}
    inside cat /run/nxc/ready /run/nxc/role /etc/hostname
    stat -c '%a %n' run/nxc/node.json run/nxc/ready
    ls run/nxc
    """
    lines = room.run(script, node=document())
    assert lines[:6] == [
        "nxc: this is server (first)",
        *("first", "web", "server"),
        "600 run/nxc/node.json",
        "600 run/nxc/ready",
    ]
    assert "host_key" not in lines, "there is no way in by ssh"


def test_hosts_are_written_through_what_an_engine_mounted(room: Room) -> None:
    script = f"""
    for name in hosts hostname resolv.conf; do
      cp held/hosts held/of-$name
      touch etc/$name
      mount --bind held/of-$name etc/$name
    done
    cp held/node nxc/node.json
    inside {NODE}
    cat held/of-hosts
    mountpoint -q etc/hosts
    """
    lines = room.run(script, node=document())
    assert {"10.9.0.1 server", "10.9.0.2 client", "127.0.0.1 localhost"} <= set(lines)
    assert "192.0.2.9 of-the-engine" not in lines


def test_what_the_engine_keeps_to_itself_stops_nothing(room: Room) -> None:
    """A read-only /proc/sys and /etc/hosts, and neither the right to name the machine nor to set up cards."""
    script = f"""
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    touch etc/hosts
    mount --bind held/hosts etc/hosts
    mount -o remount,bind,ro etc/hosts
    echo 'root:!:1::::::' >etc/shadow
    cp held/node nxc/node.json
    setpriv --bounding-set=-net_admin,-sys_admin chroot {{root}} {NODE} 2>&1
    cat run/nxc/ready etc/shadow
    """.replace("{root}", str(room.work / "root"))
    lines = room.run(script, node=document())
    assert lines == [
        "nxc: /etc/hosts cannot be written",
        "nxc: this is server (first)",
        "first",
        "root:*:1::::::",
    ]


def test_a_document_pushed_again_holds_beside_a_mounted_one(room: Room) -> None:
    script = f"""
    cp held/node nxc/node.json
    mount --bind nxc/node.json nxc/node.json
    mount -o remount,bind,ro nxc/node.json
    inside {NODE}
    inside {NODE} - <held/again
    cat run/nxc/ready
    inside {NODE}
    cat run/nxc/ready
    grep -c client-two etc/hosts
    """
    again = {**document(instance="second"), "hosts": {"client-two": ["10.9.0.3"]}}
    lines = room.run(script, node=document(), again=again)
    first, second = "nxc: this is server (first)", "nxc: this is server (second)"
    assert lines == [first, second, "second", second, "second", "1"]


def test_outside_of_a_container_the_console_does_not_tell_the_instance(room: Room) -> None:
    lines = room.run(f"rm run/systemd/container; inside {NODE} /held/node", node=document())
    assert lines == ["nxc: this is server"]


def test_a_card_without_an_address_of_its_own_is_the_only_one(room: Room) -> None:
    """It is waited for; what a role adds later, or the kernel by itself, is not taken for it."""
    script = f"""
    {{ sleep 0.5; add_card host0; }} &
    inside {NODE} /held/node
    wait $!
    ip -4 -brief address
    ip link add aaa type veth peer name bbb
    inside {NODE} /held/again
    ip -4 -brief address
    """
    again = document(only_card("10.9.0.7/24"))
    lines = room.run(script, node=document(only_card("10.9.0.1/24")), again=again)
    assert [re.sub(r"(@\S+)? +[A-Z]+ +", " ", line).rstrip() for line in lines] == [
        "nxc: this is server (first)",
        "lo 127.0.0.1/8",
        "host0 10.9.0.1/24",
        "nxc: this is server (first)",
        "lo 127.0.0.1/8",
        "host0 10.9.0.1/24 10.9.0.7/24",
    ]


def test_a_machine_without_a_card_says_so(room: Room) -> None:
    script = """
    cp guest/node.jq tmp
    sed 's/^patience=300/patience=3/' guest/nxc-node >tmp/nxc-node
    inside sh /tmp/nxc-node /held/node
    """
    done = room.attempt(script, node=document(only_card("10.9.0.1/24")))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "nxc: failed: there is no network card"
