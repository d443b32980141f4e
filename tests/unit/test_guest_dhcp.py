"""nxc-dhcp, against a real server at the other end of the cable. udhcpc and udhcpd are busybox's."""

from __future__ import annotations

from tests.guest_room import NODE, ONE, THREE, TWO, Room, card, document, room, routes

__all__ = ["room"]  # fixtures


# nxc-dhcp, against a real server at the other end of the cable. udhcpc and udhcpd are busybox's.


_SERVER = """
mkdir -p etc var/lib/misc
grep -qs x given/busybox || cp /usr/bin/busybox given/
cp guest/nxc-dhcp guest/common.sh given/
mount -t tmpfs tmpfs var
serve() {{ # CARD SUBNET: its other end gives leases
  mkdir -p held/$1
  echo "
  start $2.100
  end $2.100
  interface other
  lease_file /dev/null
  pidfile /dev/null
  option subnet 255.255.255.0
  option router $2.254
  option dns $2.253 $2.252
  option domain site-$1.test
  option lease 600
  " >held/$1/conf
  nsenter --net=proc/$other/ns/net sh -c "ip link set other up; ip address add $2.254/24 dev other"
  nsenter --net=proc/$other/ns/net busybox udhcpd -fS -I $2.254 held/$1/conf &
  servers="$servers $!"
}}
ask() {{ inside /given/nxc-dhcp "$1" & clients="$clients $!"; }}
finish() {{ kill $clients $servers 2>/dev/null || :; }}
until_there() {{
  tries=0
  until grep -qs "$1" "$2"; do
    tries=$((tries + 1))
    [ $tries -lt 200 ]
    sleep 0.1
  done
}}
clients= servers=
trap finish EXIT
mkdir -p run/nxc
""".replace("{{", "{").replace("}}", "}")


def test_the_first_lease_gives_route_and_name_servers(room: Room) -> None:
    """The second card gets its address beside it; the third, without a server, keeps nobody waiting."""
    script = f"""
    {_SERVER}
    add_card one; ip link set one address {ONE}; serve one 10.9.1
    add_card two; ip link set two address {TWO}; ask {TWO}; serve two 10.9.2
    add_card three; ip link set three address {THREE}; ask {THREE}
    until_there 10.9.2.100 run/nxc/lease.two
    until_there nameserver etc/resolv.conf
    ask {ONE}
    until_there 10.9.1.100 run/nxc/lease.one
    sleep 0.5
    cat etc/resolv.conf
    ip -4 route
    """
    lines = room.run(script)
    assert lines[:3] == ["search site-two.test", "nameserver 10.9.2.253", "nameserver 10.9.2.252"]
    found = routes(lines[3:])
    assert {line for line in found if line.startswith("default")} == {
        "default via 10.9.2.254 dev two proto dhcp"
    }
    assert {line.split()[0] for line in found} == {"default", "10.9.1.0/24", "10.9.2.0/24"}


def test_what_node_json_gave_stays(room: Room) -> None:
    """The address of the card, the way out and the name servers; and only what came by DHCP goes with it."""
    script = f"""
    {_SERVER}
    add_card one; ip link set one address {ONE}; serve one 10.9.1
    printf '#!/bin/sh\necho "$@"\n' >given/systemctl
    chmod 755 given/systemctl
    mount -t tmpfs tmpfs usr/local; mkdir usr/local/sbin; cp given/systemctl usr/local/sbin
    inside {NODE} /held/node
    ask {ONE}
    until_there 10.9.1.100 run/nxc/lease.one
    sleep 0.5
    ip -4 -brief address show one
    ip -4 route show default
    cat etc/resolv.conf
    interface=one inside /given/nxc-dhcp deconfig
    ip -4 -brief address show one
    ip -4 route show default
    """
    given = card(ONE, "10.9.1.7/24", gateway="10.9.1.1", nameservers=["10.9.1.3"], dhcp=True)
    lines = room.run(script, node=document(given))
    assert lines[:2] == [f"start --no-block nxc-dhcp@{ONE}.service", "nxc: this is server (first)"]
    assert lines[2].split()[2:] == ["10.9.1.7/24", "10.9.1.100/24"]
    assert routes(lines[3:4]) == {"default via 10.9.1.1 dev one"}
    assert lines[4] == "nameserver 10.9.1.3"
    assert lines[5].split()[2:] == ["10.9.1.7/24"]
    assert routes(lines[6:]) == {"default via 10.9.1.1 dev one"}


def test_an_address_that_a_card_has_is_asked_for_again(room: Room) -> None:
    """As of a machine that had it by DHCP before: it is neither doubled nor taken away."""
    script = f"""
    {_SERVER}
    add_card one; ip link set one address {ONE}; serve one 10.9.1
    ip link set one up; ip address add 10.9.1.100/24 dev one
    ask {ONE}
    until_there nameserver etc/resolv.conf
    interface=one inside /given/nxc-dhcp deconfig
    ip -4 -brief address show one
    ls run/nxc
    """
    lines = room.run(script)
    assert lines[0].split()[2:] == ["10.9.1.100/24"]
    assert not [name for name in lines if name.startswith("lease")]
