"""What a machine tells of itself, and what is made of it: verdict, cards, addresses."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from nxc_core import ConfigError
from nxc_core.model import Interface, Machine, NodeSpec
from nxc_kexec.addresses import check_cards, choose_addresses, describe, make_network
from nxc_kexec.cards import carry_over
from nxc_kexec.facts import HELD, SCRIPT, Facts, judge, question, read_facts
from nxc_kexec.machines import Contact
from nxc_kexec.trouble import Trouble

GIB = 1 << 30
ME = Contact(name="m1", host="m1", user="alice")
GOOD = Facts(
    boot="b",
    arch="x86_64",
    kernel="6.1.0",
    memory_total=4 * GIB,
    memory_available=3 * GIB,
    kexec="/sbin/kexec",
    space_kind="tmpfs",
    space=2 * GIB,
    addresses=({"ifname": "lo"},),
)


def ask(parent: Path, files: Mapping[str, int] | None = None, **environment: str) -> Facts:
    """Run the script on this machine, as a machine would."""
    done = subprocess.run(
        question(str(parent), True, files or {}),
        input=SCRIPT,
        capture_output=True,
        check=True,
        env={**os.environ, **environment},
    )
    assert done.stderr == b""
    return read_facts(done.stdout.decode(), "m1")


def test_the_script_tells_of_this_very_machine(tmp_path: Path) -> None:
    found = ask(tmp_path, SSH_CONNECTION="192.0.2.1 4000 192.0.2.2 22")
    assert found.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (found.arch, found.kernel) == (platform.machine(), platform.release())
    assert found.user == os.getuid()
    assert (found.client, found.server) == ("192.0.2.1", "192.0.2.2")
    total = int(Path("/proc/meminfo").read_text().split()[1]) << 10
    assert found.memory_total == total > found.memory_available > 0
    size = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert 0 < found.space <= size
    assert found.holder is None and not found.files
    assert "lo" in {link["ifname"] for link in found.addresses}


def test_the_script_tells_who_holds_the_machine_and_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / HELD
    folder.mkdir()
    assert ask(tmp_path).holder == "", "somebody, who has not said who"
    (folder / "holder").write_text("web-kexec-1\n")
    (folder / "initrd").write_bytes(b"image" + b"identity of an earlier try")
    (folder / "short").write_bytes(b"x")
    found = ask(tmp_path, {"initrd": 5, "short": 2, "none": 1})
    assert found.holder == "web-kexec-1"
    assert found.files == {"initrd": "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"}


def test_who_holds_a_machine_cannot_add_facts(tmp_path: Path) -> None:
    folder = tmp_path / HELD
    folder.mkdir()
    (folder / "holder").write_text("web-1\nowner \nfile initrd 0\naddresses [{}]\n")
    found = ask(tmp_path)
    assert (found.holder, found.owner, found.files) == ("web-1", "", {})
    assert found.addresses != [{}]


def test_a_link_to_a_folder_of_ours_is_not_ours(tmp_path: Path) -> None:
    ours = tmp_path / f"{HELD}.web-1"
    ours.mkdir()
    (ours / "holder").write_text("web-1\n")
    (tmp_path / HELD).symlink_to(ours)
    found = ask(tmp_path)
    assert found.holder == "web-1" and found.owner, "it is said whose it is, as of a stranger's"


def test_what_a_login_shell_says_first_is_no_fact() -> None:
    found = read_facts("system information of today\nbegin yes\nboot b\nsystem x86_64 6.1\nend yes\n", "m1")
    assert found.arch == "x86_64"


def test_an_answer_that_is_cut_short_is_told() -> None:
    for told in ("", "Welcome!\nboot 1\n", "end yes\n"):
        with pytest.raises(Trouble) as caught:
            read_facts(told, "m1")
        assert caught.value.cause == "its answer makes no sense"


@pytest.mark.parametrize(
    ("change", "cause", "hint"),
    [
        ({"arch": "aarch64"}, "it is aarch64, the image is for x86_64", "x86_64"),
        (
            {"boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip()},
            "it is the machine that nxc runs on",
            "leave it out",
        ),
        ({"addresses": ()}, "its network cards are not known", "iproute2"),
        ({"kexec": ""}, "kexec is not installed there", "kexec-tools"),
        ({"load_disabled": True}, "kexec_load_disabled=1", "reboot"),
        ({"lockdown": "integrity"}, "lockdown: integrity", "Secure Boot"),
        (
            {"user": 1000, "sudo_refusal": "sudo: a password is required"},
            "alice may not become root without a password: sudo: a password is required",
            "NOPASSWD",
        ),
        ({"memory_total": 300 << 20}, "it has 300 MiB of memory, a node needs 456 MiB", "larger"),
        (
            {"memory_available": 200 << 20},
            "200 MiB of its memory are free, loading takes 364 MiB",
            "end what",
        ),
        ({"space_kind": "ext2/ext3"}, "its /dev/shm is on ext2/ext3, not in memory", "kexec.folder"),
        ({"space_kind": ""}, "its /dev/shm is not there", "kexec.folder"),
        ({"space": 50 << 20}, "its /dev/shm has 50 MiB left, the image needs 100 MiB", "free some"),
        ({"holder": "db-kexec-2"}, "it is in use by db-kexec-2", "nxc down db-kexec-2"),
        ({"holder": "", "owner": "bob"}, "it is in use by another deployment of bob", "/dev/shm/nxc-kexec"),
        ({"holder": "web-1", "owner": "bob"}, "it is in use by web-1 of bob", "nxc down web-1"),
    ],
)
def test_a_machine_that_will_not_do_is_refused(change: dict[str, Any], cause: str, hint: str) -> None:
    with pytest.raises(Trouble) as caught:
        verdict(evolve(GOOD, **change))
    assert cause in caught.value.cause
    assert hint in caught.value.hint
    assert caught.value.step == "facts"


def verdict(facts: Facts, contact: Contact = ME) -> None:
    judge(facts, contact, deployment="web-1", folder="/dev/shm", arch="x86_64", image=100 << 20)


def test_a_machine_that_will_do_is_taken() -> None:
    verdict(GOOD)
    verdict(evolve(GOOD, user=1000, sudo=True))
    verdict(evolve(GOOD, holder="web-1"))
    # What is there by now needs no more room.
    verdict(evolve(GOOD, holder="web-1", files={"initrd": "x"}, space=4 << 20, memory_available=270 << 20))


def test_no_sudo_is_kept_to() -> None:
    with pytest.raises(Trouble, match="sudo=no is given"):
        verdict(evolve(GOOD, user=1000), evolve(ME, sudo=False))


# Cards


def link(name: str, *addresses: str, up: bool = True, dynamic: bool = False, **more: Any) -> dict[str, Any]:
    info = []
    for text in addresses:
        local, _, length = text.partition("/")
        family = "inet6" if ":" in local else "inet"
        scope = "link" if local.startswith("fe80") else "global"
        one: dict[str, Any] = {"family": family, "local": local, "prefixlen": int(length), "scope": scope}
        info.append(one | ({"dynamic": True} if dynamic else {}))
    flags = ["UP", "LOWER_UP"] if up else ["UP"]
    return {
        "ifname": name,
        "flags": flags,
        "link_type": "ether",
        "address": f"02:00:00:00:00:{len(name):02x}",
        "addr_info": info,
    } | more


def test_a_permanent_address_carries_over_with_its_routes() -> None:
    facts = evolve(
        GOOD,
        cards=("eth0",),
        addresses=[link("eth0", "10.1.0.5/24", "fe80::1/64", "2001:db8::5/64")],
        routes=[
            {"dst": "default", "gateway": "10.1.0.1", "dev": "eth0"},
            {"dst": "10.0.0.0/8", "gateway": "10.1.0.2", "dev": "eth0"},
            {"dst": "10.9.9.9", "dev": "eth0", "scope": "link"},
            {"dst": "10.1.0.0/24", "dev": "eth0", "protocol": "kernel"},
            {"type": "blackhole", "dst": "10.66.0.0/16", "dev": "eth0"},
            {"dst": "172.17.0.0/16", "dev": "docker0", "gateway": "172.17.0.1"},
        ],
        routes6=[
            {"dst": "default", "gateway": "2001:db8::1", "dev": "eth0", "protocol": "static"},
            {"dst": "default", "gateway": "fe80::2", "dev": "eth0", "protocol": "ra"},
        ],
        nameservers=("127.0.0.53", "10.1.0.3", "10.1.0.3"),
    )
    assert carry_over(facts, "10.1.0.5") == (
        Interface(
            mac="02:00:00:00:00:04",
            network="lan",
            addresses=("10.1.0.5/24", "2001:db8::5/64"),
            gateway="10.1.0.1",
            nameservers=("10.1.0.3",),
            routes=("10.9.9.9/32", "10.0.0.0/8 via 10.1.0.2", "::/0 via 2001:db8::1"),
        ),
    )


def test_a_leased_address_is_kept_and_asked_for_again() -> None:
    (found,) = carry_over(
        evolve(GOOD, cards=("eth0",), addresses=[link("eth0", "10.0.2.15/24", dynamic=True)])
    )
    assert found.dhcp and found.addresses == ("10.0.2.15/24",)


def test_cards_with_a_cable_ask_and_those_without_are_left_alone() -> None:
    facts = evolve(
        GOOD,
        cards=("a", "bb", "ccc"),
        addresses=[link("a"), link("bb", up=False), link("ccc", "10.1.0.5/24", up=False)],
    )
    assert [(one.network, one.dhcp, one.addresses) for one in carry_over(facts)] == [
        ("a", True, ()),
        ("ccc", False, ("10.1.0.5/24",)),
    ]


def test_a_card_to_the_controller_of_a_machine_is_not_insisted_on() -> None:
    """Its driver need not be in the image, and no node is to fail for that."""
    facts = evolve(GOOD, cards=("usb0",), addresses=[link("usb0", "169.254.0.2/16")])
    (found,) = carry_over(facts)
    assert (found.addresses, found.dhcp) == ((), True)


@pytest.mark.parametrize(
    "card",
    [
        {"ifname": "e", "link_type": "ether", "addr_info": 5},
        {"ifname": "e", "link_type": "ether", "addr_info": [{"scope": "global", "local": "10.0.0.1"}]},
        {"ifname": "e", "link_type": "ether", "addr_info": [{"scope": "global", "local": "here"}]},
        {"ifname": "e", "addr_info": [{"local": "10.0.0.1", "prefixlen": 99}]},
    ],
)
def test_cards_that_make_no_sense_are_told(card: dict[str, Any]) -> None:
    check_cards(evolve(GOOD, addresses=[{}, {"ifname": "lo"}]), "m1")
    with pytest.raises(Trouble, match="m1: facts: what it says of its network cards makes no sense"):
        check_cards(evolve(GOOD, addresses=[card]), "m1")


def test_of_two_ways_out_the_preferred_one_carries_over() -> None:
    facts = evolve(
        GOOD,
        cards=("a", "bb"),
        addresses=[link("a", "10.1.0.5/24"), link("bb", "10.2.0.5/24")],
        routes=[
            {"dst": "default", "gateway": "10.1.0.1", "dev": "a", "metric": 200},
            {"dst": "default", "gateway": "10.2.0.1", "dev": "bb", "metric": 100},
        ],
        nameservers=("10.2.0.3",),
    )
    first, second = carry_over(facts)
    assert (first.gateway, first.nameservers) == (None, ())
    assert (second.gateway, second.nameservers) == ("10.2.0.1", ("10.2.0.3",))


def test_the_address_of_a_bridge_or_bond_goes_to_a_card_of_it() -> None:
    facts = evolve(
        GOOD,
        cards=("eth0", "eth01"),
        addresses=[
            link("eth0", up=False, master="bond0", permaddr="02:00:00:00:00:AA"),
            link("eth01", master="bond0", permaddr="02:00:00:00:00:BB"),
            link("bond0", master="br0", linkinfo={"info_kind": "bond"}),
            link("br0", "10.1.0.5/24", linkinfo={"info_kind": "bridge"}),
            link("veth1", "10.88.0.1/16", linkinfo={"info_kind": "veth"}),
        ],
        routes=[{"dst": "default", "gateway": "10.1.0.1", "dev": "br0"}],
    )
    (found,) = carry_over(facts)
    assert (found.mac, found.addresses, found.gateway) == ("02:00:00:00:00:bb", ("10.1.0.5/24",), "10.1.0.1")


def test_a_machine_without_ip_tells_no_cards() -> None:
    assert carry_over(GOOD) == ()


# Addresses


def known(**machines: Facts) -> list[tuple[Contact, Facts]]:
    return [(Contact(name=name, host=name), facts) for name, facts in machines.items()]


def on(server: str, *addresses: str) -> Facts:
    return evolve(GOOD, server=server, cards=("eth0",), addresses=[link("eth0", *addresses)])


def test_nodes_are_known_by_where_ssh_reached_them() -> None:
    assert choose_addresses(known(a=on("192.0.2.1"), b=on("192.0.2.2"))) == {
        "a": "192.0.2.1",
        "b": "192.0.2.2",
    }


def test_behind_a_translator_a_subnet_that_all_share_counts() -> None:
    found = known(
        a=on("10.0.2.15", "10.0.2.15/24", "10.77.0.1/24"), b=on("10.0.2.15", "10.0.2.15/24", "10.77.0.2/24")
    )
    assert choose_addresses(found) == {"a": "10.77.0.1", "b": "10.77.0.2"}


def test_a_machine_that_comes_later_is_known_by_an_address_near_the_others() -> None:
    later = known(c=on("10.0.2.15", "10.0.2.15/24", "10.77.0.3/24"))
    assert choose_addresses(later, {"10.77.0.1": "10.77.0.0/24"}) == {"c": "10.77.0.3"}
    assert choose_addresses(later, {"10.77.0.1": "10.77.0.0/24", "192.0.2.1": ""}) == {"c": "10.0.2.15"}
    assert choose_addresses(known(c=on("192.0.2.3")), {"10.77.0.1": "10.77.0.0/24"}) == {"c": "192.0.2.3"}
    with pytest.raises(ConfigError, match="no addresses are found"):
        choose_addresses(known(c=on("10.0.2.15")), {"10.0.2.15": ""})


def test_an_address_of_one_link_is_of_no_use_to_nodes() -> None:
    found = known(a=on("fe80::1%eth0", "10.77.0.1/24"), b=on("fe80::2%eth0", "10.77.0.2/24"))
    assert choose_addresses(found) == {"a": "10.77.0.1", "b": "10.77.0.2"}


def test_given_addresses_stand_above_all() -> None:
    (first, facts), other = known(a=on("10.0.2.15"), b=on("10.0.2.15"))
    found = [(evolve(first, address="192.0.2.9"), facts), other]
    assert choose_addresses(found) == {"a": "192.0.2.9", "b": "10.0.2.15"}


def test_machines_that_cannot_be_told_apart_are_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"ssh reached a 10\.0\.2\.15, b 10\.0\.2\.15, and no subnet"
    ) as caught:
        choose_addresses(known(a=on("10.0.2.15", "10.0.2.15/24"), b=on("10.0.2.15", "10.0.2.15/24")))
    assert "address=IP" in caught.value.hint
    twice = [(evolve(contact, address="10.0.0.1"), facts) for contact, facts in known(a=GOOD, b=GOOD)]
    with pytest.raises(ConfigError, match="address=10.0.0.1 is given to several"):
        choose_addresses(twice)


def test_the_core_is_told_what_nodes_depend_on() -> None:
    one = evolve(on("10.77.0.1", "10.77.0.1/24"), name="debian")
    two = evolve(on("10.77.0.2", "10.77.0.2/24"), name="debian")
    told = describe(
        [*known(a=one, b=two), (Contact(name="10.77.0.3", host="x"), on("10.77.0.3", "10.77.0.3/24"))]
    )
    json.dumps(told)
    assert told["a"]["names"] == ["a"], "a host name that two machines have is nobody's"
    assert told["10.77.0.3"]["names"] == []
    assert told["a"]["subnet"] == "10.77.0.0/24"
    machines = {name: Machine(name=name, facts=facts) for name, facts in told.items()}
    nodes = [NodeSpec(name=f"n{i}", role="n", index=i, machine=name) for i, name in enumerate(["b", "a", ""])]
    (network,) = make_network(nodes, machines)
    assert network.members == {"n0": ("10.77.0.2",), "n1": ("10.77.0.1",)}
    assert network.subnet == "10.77.0.0/24"
