"""nix/guest/nxc-node as in a container: run for real in namespaces of its own, with a root of its own."""

from __future__ import annotations

import re

from tests.guest_room import NODE, ONE, THREE, TWO, Room, card, document, only_card, room, routes

__all__ = ["room"]  # fixtures


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
    cp guest/node.jq guest/common.sh tmp
    sed 's/^patience=300/patience=3/' guest/nxc-node >tmp/nxc-node
    inside sh /tmp/nxc-node /held/node
    """
    done = room.attempt(script, node=document(only_card("10.9.0.1/24")))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "nxc: failed: there is no network card"


# Cards by these addresses, all with a cable.
_CARDS = f"""
add_card one; ip link set one address {ONE}
add_card two; ip link set two address {TWO}
add_card three; ip link set three address {THREE}
"""


def test_several_cards_are_found_by_their_addresses(room: Room) -> None:
    """One that is not named stays as it is; routes and a gateway outside of the subnet are carried over."""
    script = f"""
    {_CARDS}
    ip link set three up
    inside {NODE} /held/node 2>&1
    ip -4 -brief address
    ip -4 route
    """
    found = document(
        card(TWO, "10.9.1.7/32", gateway="10.77.0.1"),
        card(ONE, "10.9.0.1/24", "fd00::1/64", routes=["10.8.0.0/16 via 10.9.0.254", "10.7.0.0/16"]),
    )
    lines = room.run(script, node=found)
    assert lines[0] == "nxc: this is server (first)"
    cards = {line.split("@")[0]: line.split()[2:] for line in lines[1:5]}
    assert cards["one"] == ["10.9.0.1/24"] and cards["two"] == ["10.9.1.7/32"]
    assert "three" not in cards
    assert routes(lines[3:]) >= {
        "default via 10.77.0.1 dev two",
        "10.8.0.0/16 via 10.9.0.254 dev one",
        "10.7.0.0/16 dev one scope link",
    }


def test_a_route_that_cannot_be_set_is_only_said(room: Room) -> None:
    script = f"{_CARDS} inside {NODE} /held/node 2>&1; ip -4 route"
    found = document(card(ONE, "10.9.0.1/24", routes=["10.8.0.0/33 via 10.9.0.254", "10.7.0.0/16"]))
    lines = room.run(script, node=found)
    assert "nxc: the route 10.8.0.0/33 via 10.9.0.254 dev one onlink cannot be set" in lines
    assert "10.7.0.0/16 dev one scope link" in routes(lines)


def test_a_missing_card_does_not_keep_the_others(room: Room) -> None:
    """Its machine can be reached and says what is wrong; it is no node."""
    script = f"""
    {_CARDS}
    cp guest/node.jq guest/common.sh tmp
    sed 's/^patience=300/patience=3/' guest/nxc-node >tmp/nxc-node
    inside sh /tmp/nxc-node /held/node 2>&1 || echo ended
    cat run/nxc/failed
    ip -4 -brief address show one
    ls run/nxc/ready 2>&1 || :
    inside {NODE} - <held/again 2>&1
    ls run/nxc
    """
    absent = [card(f"02:00:00:00:00:0{last}", f"10.9.{last}.1/24") for last in "89"]
    found = document(*absent, card(ONE, "10.9.0.1/24"))
    said = "there is no network card with the address 02:00:00:00:00:08, with the address 02:00:00:00:00:09"
    lines = room.run(script, node=found, again=document(card(ONE, "10.9.0.1/24")))
    assert lines[:3] == [f"nxc: failed: {said}", "ended", said]
    assert "10.9.0.1/24" in lines[3]
    assert "No such file" in lines[4]
    assert lines[5] == "nxc: this is server (first)"
    assert "ready" in lines[6:] and "failed" not in lines[6:]


def test_what_is_pushed_leaves_cards_alone_that_it_does_not_change(room: Room) -> None:
    """A role has made a bridge of the card, which has its address, and even its hardware address."""
    script = f"""
    {_CARDS}
    inside {NODE} /held/node
    ip address flush dev one
    ip link add aaa type bridge
    ip link set aaa address {ONE} up
    ip link set one master aaa
    ip address add 10.9.0.1/24 dev aaa
    inside {NODE} - <held/again
    ip -4 -brief address show one
    ip -4 -brief address show aaa
    grep later etc/hosts
    """
    cards = [card(ONE, "10.9.0.1/24")]
    again = {**document(*cards), "hosts": {"later": ["10.9.0.3"]}}
    lines = room.run(script, node=document(*cards), again=again)
    assert lines[2].split()[2:] == ["10.9.0.1/24"] and lines[3] == "10.9.0.3 later"
