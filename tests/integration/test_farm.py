"""The farm is what it stands for: machines that plain ssh finds as real ones are, and that kexec changes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.farm import FREEZE, NODE_PORT, PORT, Farm, Machine, answers
from tests.farm_image import Broken, archive, make_initrd, make_kernel, read_initrd
from tests.processes import command_lines

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(900)]


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with Farm(tmp_path / "farm") as farm:
        yield farm


def load(machine: Machine, cmdline: str = "quiet", *, initrd: bytes | None = None) -> dict[str, str]:
    """Upload an image with an identity and load it; returns the identity."""
    folder = machine.farm.dir
    node_key = folder / f"{machine.name}-node"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(node_key)), check=True)
    document = {
        "instance": f"instance of {machine.name}",
        "node": "server",
        "hosts": {"server": [machine.address]},
        "host_key": node_key.read_text(),
        "authorized_keys": [machine.farm.key.with_suffix(".pub").read_text()],
    }
    with machine.farm.known_hosts.open("a") as file:
        file.write(f"[{machine.address}]:{NODE_PORT} {node_key.with_suffix('.pub').read_text()}")
    make_kernel(folder / "kernel")
    image = make_initrd(folder / "initrd")
    identity = archive({"nxc/node.json": json.dumps(document).encode()})
    image.write_bytes(image.read_bytes() + identity if initrd is None else initrd)
    for name in ("kernel", "initrd"):
        copied = machine.ssh(f"cat > /run/{name}", stdin=folder / name)
        assert copied.returncode == 0, copied.stderr
    done = machine.ssh(f"kexec -l /run/kernel --initrd=/run/initrd --command-line='{cmdline}'")
    assert done.returncode == 0, done.stderr
    return {name: str(value) for name, value in document.items()}


def launch(machine: Machine) -> None:
    machine.ssh("nohup sh -c 'sleep 0.2; kexec -e' >/dev/null 2>&1 </dev/null &")


def check_hangs(machine: Machine, command: str, event: str) -> None:
    """See that a command by which this happens to the machine is not heard of any more."""
    with subprocess.Popen(machine.ssh_words(command), stdin=subprocess.DEVNULL) as process:
        try:
            machine.wait(lambda one: event in one.log and not answers(one.address, PORT))
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
        finally:
            process.kill()


def test_kexec_makes_a_machine_the_node_and_a_reset_gives_it_back(farm: Farm) -> None:
    machine = farm.add("m1")
    former = machine.ssh("cat /proc/sys/kernel/random/boot_id; hostname").stdout.split()
    assert former == [machine.boot_id, "m1"]
    document = load(machine, "nxc.role=server panic=0")
    assert machine.loaded == "nxc.role=server panic=0"
    launch(machine)
    machine.wait(lambda one: answers(one.address, NODE_PORT))
    told = machine.ssh("cat /run/nxc/ready /proc/sys/kernel/random/boot_id; hostname", port=NODE_PORT)
    instance, boot_id, name = told.stdout.splitlines()
    assert (instance, name) == (document["instance"], "server")
    assert boot_id == machine.boot_id != former[0]
    assert not machine.look("/run/initrd").exists()  # RAM was new
    assert machine.ssh("true").returncode == 255  # the former system is gone
    hosts = {"node": "server", "instance": "later", "hosts": {"client": ["127.0.0.9"]}}
    (farm.dir / "pushed").write_text(json.dumps(hosts))
    assert machine.ssh("/usr/lib/nxc/nxc-node -", port=NODE_PORT, stdin=farm.dir / "pushed").returncode == 0
    assert "127.0.0.9 client" in machine.ssh("cat /etc/hosts", port=NODE_PORT).stdout
    machine.ssh("systemctl reboot", port=NODE_PORT)
    machine.wait(lambda one: answers(one.address, PORT))
    back = machine.ssh("cat /proc/sys/kernel/random/boot_id; hostname; ls /run").stdout.split()
    assert back[0] not in (former[0], boot_id)
    assert back[1] == "m1"
    assert "initrd" not in back
    assert machine.loaded is None
    assert not answers(machine.address, NODE_PORT)


def test_a_connection_hangs_when_the_kernel_below_it_goes(farm: Farm) -> None:
    machine = farm.add("m1", after="hang")
    load(machine)
    check_hangs(machine, "kexec -e", "kexec")
    machine.wait(lambda one: one.system == "gone")
    assert not answers(machine.address, NODE_PORT)


@pytest.mark.parametrize(("cmdline", "ends"), [("quiet", "gone"), ("quiet panic=5", "former")])
def test_a_panic_is_silent_unless_the_kernel_was_told_to_reboot(farm: Farm, cmdline: str, ends: str) -> None:
    machine = farm.add("m1")
    former = machine.boot_id
    load(machine, cmdline, initrd=b"not a ramdisk")
    launch(machine)
    machine.wait(lambda one: one.boots == (2 if ends == "former" else 1) and one.system == ends)
    assert any("panic" in line for line in machine.log)
    assert (machine.boot_id != former) == (ends == "former")


def test_it_returns_to_its_former_system_where_it_is_told_so(farm: Farm) -> None:
    machine = farm.add("m1", after="former")
    former = machine.boot_id
    load(machine)
    launch(machine)
    machine.wait(lambda one: one.boots == 2 and answers(one.address, PORT))
    assert machine.ssh("cat /proc/sys/kernel/random/boot_id").stdout.strip() == machine.boot_id != former


@pytest.mark.parametrize(("end", "ends", "boots"), [("reboot", "former", 2), ("off", "off", 1)])
def test_what_was_to_come_is_void_after_a_reset_or_a_power_cut(
    farm: Farm, end: str, ends: str, boots: int
) -> None:
    machine = farm.add("m1", boot=1.0)
    load(machine)
    farm.order(machine, "kexec")
    farm.order(machine, end)
    machine.wait(lambda one: one.system == ends and one.boots == boots)
    time.sleep(1.5)
    assert (machine.system, machine.boots, "node" in machine.log) == (ends, boots, False)


def test_what_a_machine_lacks_is_lacking(farm: Farm) -> None:
    farm.add("refused", kexec_disabled=True, wait=False)
    farm.add("locked", lockdown=True, wait=False)
    farm.add("bare", kexec=False, wait=False)
    farm.add("alice", user="alice", wait=False)
    farm.add("mallory", user="alice", sudo=False, wait=False)
    farm.add("odd", arch="aarch64", memory=512, ram_folder="1m", wait=False)
    farm.wait()
    machines = farm.machines
    for name in ("refused", "locked"):
        machines[name].ssh("cat > /run/kernel", stdin=make_kernel(farm.dir / "kernel"))
        done = machines[name].ssh("kexec -l /run/kernel --initrd=/run/kernel")
        assert (done.returncode, "Operation not permitted" in done.stderr) == (255, True), done
    assert machines["bare"].ssh("kexec -v").returncode == 127
    assert machines["alice"].ssh("sudo -n id -u; id -u").stdout.split() == ["0", "1000"]
    assert "password is required" in machines["mallory"].ssh("sudo -n id").stderr
    odd = machines["odd"].ssh("uname -m; head -1 /proc/meminfo; head -c 2m /dev/zero > /run/much")
    assert odd.stdout.split() == ["aarch64", "MemTotal:", str(512 << 10), "kB"]
    assert "No space left on device" in odd.stderr


def test_machines_hang_refuse_and_vanish(farm: Farm) -> None:
    machine = farm.add("m1", shims={"sha256sum": FREEZE})
    check_hangs(machine, "sha256sum /etc/passwd", "freeze")
    with pytest.raises(subprocess.TimeoutExpired):
        machine.ssh("true", timeout=2)  # it does not even greet
    machine.cut()
    machine.wait(lambda one: one.system == "off")
    assert "refused" in machine.ssh("true").stderr
    hole = farm.spare_address()
    farm.black_hole(hole, PORT)
    silent = subprocess.run(
        ("ssh", "-F", "none", "-o", "ConnectTimeout=3", "-p", str(PORT), hole, "true"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "timed out" in silent.stderr


def test_a_farm_leaves_nothing(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    with Farm(tmp_path / "farm") as farm:
        for number in range(5):
            farm.add(f"m{number}", wait=False)
        farm.wait()
        machine = farm.machines["m0"]
        # What would hurt this machine is not given to those.
        assert machine.ssh("echo b > /etc/passwd.new").returncode != 0
        assert machine.ssh("ip link add farm0 type dummy").returncode != 0
        assert machine.ssh("ls /tmp").stdout == ""
    assert [words for words in command_lines().values() if str(tmp_path) in words] == []
    assert Path("/proc/self/mounts").read_text() == mounts


def test_ramdisks_are_read_as_a_kernel_reads_them(tmp_path: Path) -> None:
    first, second = archive({"a": b"1", "b": b"2"}), archive({"./b": b"3"})
    path = tmp_path / "initrd"
    path.write_bytes(first + b"\0" * 4 + second)
    assert read_initrd(path) == {"a": b"1", "b": b"3"}
    for text in (first + b"\0" + second, first + b"x", first[:-200] + second):
        path.write_bytes(text)
        with pytest.raises(Broken):
            read_initrd(path)
