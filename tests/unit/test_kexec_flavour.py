"""The flavour kexec before anything is touched: its options, the machines that are named, host keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from nxc_core import ConfigError, Interrupted, PreflightError
from nxc_core.model import Artifact, Json, Kind, NodeSpec, Plan, Role, RoleBoot
from nxc_core.operation import Operation
from nxc_core.plugins import Plugins
from nxc_kexec import booking, claims, images
from nxc_kexec.claims import Station
from nxc_kexec.facts import Facts
from nxc_kexec.machines import Contact
from nxc_kexec.options import KexecOptions
from nxc_kexec.trouble import Trouble
from tests.operations import operation_in


@pytest.fixture
def op(tmp_path: Path) -> Operation:
    return operation_in(tmp_path, "web-1")


def flavour(**options: Any) -> Any:
    return Plugins.discover().flavour("kexec", options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"contact": 0}, "contact must be more than 0"),
        ({"boot": "soon"}, "kexec.boot: 'soon' is not a number"),
        ({"folder": "here"}, "folder must be an absolute path"),
        ({"release": "never"}, "kexec.release: 'never' is not one of reboot, leave"),
        ({"cmdline": "a\nb"}, "cmdline must be one line"),
    ],
)
def test_options_are_checked(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        flavour(**options)


def test_machines_are_counted_before_anything_is_built(op: Operation) -> None:
    roles = (Role(name="a", count=2), Role(name="b", hosts=("x",)), Role(name="c", count=0))
    flavour().vet(roles, op)  # `nxc build` needs no machines
    flavour(machines="m1,m2,m3").vet(roles, op)
    with pytest.raises(ConfigError, match="there are 2 machines for 3 nodes"):
        flavour(machines="m1,m2").vet(roles, op)
    flavour(machines="m1,m2,m3").afford(2, 1, op)
    with pytest.raises(ConfigError, match="there are 3 machines for 3 nodes and 1 spare"):
        flavour(machines="m1,m2,m3").afford(3, 1, op)
    with pytest.raises(ConfigError, match="1 machine for 2 nodes: there is no file rack, so that is a host"):
        flavour(machines="rack").afford(2, 0, op)
    with pytest.raises(ConfigError, match="no machines are named") as caught:
        flavour().require(op)
    assert "-m host,host" in caught.value.hint


def test_a_missing_file_of_host_keys_is_told(op: Operation) -> None:
    with pytest.raises(PreflightError, match="^there is no file /none/known"):
        flavour(machines="m1", known_hosts="/none/known").require(op)


def test_a_missing_shared_folder_is_told_before_anything_is_touched(op: Operation) -> None:
    with pytest.raises(PreflightError, match="there is no folder /none/home on this machine"):
        flavour(machines="m1", shared="/none/home").require(op)


def test_what_the_host_on_the_way_says_is_told_of_the_machines_behind_it(op: Operation) -> None:
    claims.claim(Contact(name="m1", host="192.0.2.1", jump="bob@127.0.0.1:4"), op)
    (station,) = claims.stations(op, known_hosts="", patience=1).values()
    shut = booking.open_gateways([station], KexecOptions(contact=5), op)
    assert shut["bob@127.0.0.1:4"].cause == "the connection was refused"
    (trouble,) = op.flows([booking._see(station, KexecOptions(contact=1), {}, shut, op)])
    assert isinstance(trouble, Trouble)
    assert trouble.cause == "the host on the way (bob@127.0.0.1:4): the connection was refused"
    assert trouble.last_line.endswith("port 4: Connection refused")


def test_an_image_without_a_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match="no kernel and initrd for role a"):
        images.image_of(Artifact(kind=Kind("ramdisk"), roles={"a": RoleBoot()}), "a")


def test_a_name_that_means_nothing_is_told_with_its_line(op: Operation, tmp_path: Path) -> None:
    (tmp_path / "machines").write_text("127.0.0.1\nno-such-host.invalid\n")
    plan = Plan(
        deployment="web-1",
        artifact=Artifact(kind=Kind("ramdisk")),
        nodes=(),
        networks=(),
        documents={},
        instances={},
        key=tmp_path / "key",
        known_hosts=tmp_path / "known_hosts",
    )
    nodes = tuple(NodeSpec(name=f"n{i}", role="a", index=i, machine="") for i in range(2))
    with pytest.raises(ConfigError, match="machines, line 2: the name no-such-host.invalid is not known"):
        flavour(machines=str(tmp_path / "machines")).acquire(evolve(plan, nodes=nodes), op)
    assert not op.claimed(), "nothing is claimed when the list cannot be meant"


def test_a_machine_under_two_names_is_held_once(op: Operation) -> None:
    one, other = (Facts(boot=boot, arch="x86_64", kernel="6.1") for boot in ("b1", "b2"))
    seen = {"m1": one, "m2": other, "alias": one}
    booking.leave_out_twins(seen, op)
    assert list(seen) == ["m1", "m2"]
    assert "it is m1 under another name" in op.journal.quarantined()["alias"].cause


def test_host_keys_are_found_from_another_folder(
    op: Operation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").touch()
    monkeypatch.chdir(tmp_path)
    options = KexecOptions(known_hosts="keys")
    (contact,) = booking._configure([Contact(name="m1", host="127.0.0.1")], options, op)
    claimed = claims.claim(contact, op)
    assert claims.station(claimed, op, known_hosts="keys", patience=1).way.known_hosts == "keys"
    monkeypatch.chdir("/")
    there = claims.station(claimed, op, known_hosts="keys", patience=1).way
    assert there.known_hosts == str(tmp_path / "keys")


def test_those_known_from_before_decide_where_a_later_machine_is_known(op: Operation) -> None:
    def held(name: str, address: str) -> Station:
        claimed = claims.claim(Contact(name=name, host=name), op)
        facts: Json = {"address": address, "subnet": "10.77.0.0/24"} if address else {}
        return claims.station(op.note(claimed, facts=facts), op, known_hosts="", patience=1)

    card = {
        "ifname": "eth0",
        "link_type": "ether",
        "addr_info": [
            {"family": "inet", "local": local, "prefixlen": 24, "scope": "global"}
            for local in ("10.0.2.15", "10.77.0.3")
        ],
    }
    late = Facts(boot="b", arch="x86_64", kernel="6.1", server="10.0.2.15", addresses=[card])
    stations = {name: held(name, address) for name, address in (("m1", "10.77.0.1"), ("m2", ""), ("m3", ""))}
    booking._note(stations, {"m3": late}, KexecOptions(), op)
    noted = {one.id: one.data["facts"] for one in op.claimed(claims.MACHINE)}
    assert isinstance(noted["m3"], dict) and noted["m3"]["address"] == "10.77.0.3"


def test_an_interruption_ends_the_looking_up_of_names(op: Operation) -> None:
    op.cancel.set()
    with pytest.raises(Interrupted):
        booking._resolve([Contact(name=n, host=n, real="127.0.0.1", port=22) for n in "ab"], op)
