"""The Debian ramdisk for real hardware, really booted, on a machine with several network cards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.model import Artifact
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from tests import hardware
from tests.hardware import ASKED, GIVEN, SILENT, UNLISTED, Hardware

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

BASIC = Path(__file__).parents[2] / "examples" / "basic"


@pytest.fixture(scope="module")
def artifact(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    project = tmp_path_factory.mktemp("hardware") / "basic"
    shutil.copytree(BASIC, project, ignore=shutil.ignore_patterns(".nxc"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        source = project / "composition.nix"
        return Session.open(project).build(source, flavour="kexec", base="debian").artifact


@pytest.fixture(scope="module")
def machine(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hardware]:
    folder = tmp_path_factory.mktemp("booted") / "machine"
    with hardware.booted(folder, artifact.roles["foo"], "foo", card="e1000e") as found:
        yield found


def test_cards_have_what_the_document_says(machine: Hardware) -> None:
    """The way in came by DHCP, which nothing waited for: a card that gets no answer keeps asking."""
    assert machine.run("cat /run/nxc/ready") == "first\n"
    found = machine.addresses()
    assert found[ASKED] == {"10.0.2.15/24"} and found[GIVEN] == {"10.77.0.5/24"}
    assert found[SILENT] == found[UNLISTED] == set()
    assert f" active running nxc: an address from the network (DHCP) for the card {SILENT}" in machine.run(
        "systemctl list-units --no-legend --plain 'nxc-dhcp@*'"
    )
    machine.run("until grep -q nameserver /etc/resolv.conf; do sleep 0.2; done")  # last of what a lease gives
    routes = machine.run("ip -4 route")
    assert routes.count("default") == 1 and "default via 10.0.2.2" in routes
    assert "10.78.0.0/16 via 10.77.0.1" in routes
    assert "nameserver 10.0.2.3" in machine.run("cat /etc/resolv.conf")


def test_drivers_are_those_of_the_cards_that_are_there(machine: Hardware) -> None:
    loaded = {line.split()[0] for line in machine.run("cat /proc/modules").splitlines()}
    asked = set(Plugins.discover().flavour("kexec", {}).guest.kernel_modules)
    assert asked & loaded == {"e1000e", "virtio_net", "virtio_pci"} - built_in(machine)
    assert machine.run("find /lib/modules -name 'snd*.ko*' -o -name 'cfg80211*'") == "", (
        "it is a smaller kernel"
    )
    assert machine.run("modinfo -F filename bnxt_en igb ice").count("/drivers/net/") == 3


def built_in(machine: Hardware) -> set[str]:
    listed = machine.run("cat /lib/modules/$(uname -r)/modules.builtin").splitlines()
    return {Path(line).name.partition(".ko")[0].replace("-", "_") for line in listed}


def test_the_system_is_whole(machine: Hardware) -> None:
    machine.run("until systemctl is-system-running --wait | grep -qx running; do sleep 1; done")
    assert machine.run("systemctl --failed --no-legend") == ""
    assert machine.run("stat -c %a /run/nxc/node.json /run/nxc/host_key").split() == ["600", "600"]


def test_a_document_pushed_with_other_hosts_leaves_the_cards_alone(machine: Hardware) -> None:
    document = json.loads(machine.run("cat /run/nxc/node.json"))
    document["hosts"]["later"] = ["10.77.0.9"]
    before = machine.addresses()
    machine.run(f"ip address add 10.77.0.99/24 dev $(grep -l {GIVEN} /sys/class/net/*/address | cut -d/ -f5)")
    machine.run("/usr/lib/nxc/nxc-node -", given=json.dumps(document))
    assert machine.run("getent hosts later").split() == ["10.77.0.9", "later"]
    after = machine.addresses()
    assert after.pop(GIVEN) == before.pop(GIVEN) | {"10.77.0.99/24"}
    assert after == before


def test_addresses_are_kept_in_emergency(machine: Hardware) -> None:
    machine.run("systemctl isolate emergency.target --no-block")
    machine.run("until systemctl is-active emergency.target; do sleep 0.2; done")
    machine.run(f"systemctl is-active nxc-dhcp@{ASKED}.service")
    assert machine.addresses()[ASKED] == {"10.0.2.15/24"}
