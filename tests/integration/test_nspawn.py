"""What nodes of systemd-nspawn have, what limits them, how they come back, what is left of killed ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nxc_core.errors import CommandError, DeployError
from nxc_core.machine import NodeHandle
from nxc_core.model import ExecEndpoint
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_nspawn import cgroups, keeper, machines, network

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
NXC = Path(sys.executable).with_name("nxc")


def write(folder: Path) -> Path:
    """Write a project in an oddly named folder, beside one for its volumes."""
    project = folder / "odd: project"
    project.mkdir()
    (folder / "data").mkdir()
    (folder / "data/note").write_text("from outside\n")
    text = (HERE / "nspawn.nix").read_text().replace("@here@", str(folder))
    (project / "composition.nix").write_text(text)
    return project / "composition.nix"


def lives(pid: int) -> bool:
    """Whether a process runs; one that ended may not have been reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(scope="module")
def pair(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    source = write(tmp_path_factory.mktemp("nspawn"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        patch.setenv("NXC_TEST_SECRET", "hush")
        with Session.open(source.parent).up(source, flavour="nspawn") as running:
            yield running


@pytest.fixture
def limited(pair: Running) -> NodeHandle:
    return pair["limited"]


@pytest.fixture
def web(pair: Running) -> NodeHandle:
    return pair["web"]


def prefix(running: Running, name: str) -> tuple[str, ...]:
    endpoint = running.node(name).endpoint
    assert isinstance(endpoint, ExecEndpoint)
    return endpoint.prefix


def test_no_unit_fails(pair: Running) -> None:
    for node in pair.values():
        node.wait_until_succeeds("systemctl is-system-running | grep -x running", timeout=300)


def test_this_machine_reaches_nodes_at_their_addresses(pair: Running, web: NodeHandle) -> None:
    web.wait_for_open_port(80)
    address = pair.deployment.networks[0].members["web"][0]
    assert pair.node("web").facts["address"] == address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert opener.open(f"http://{address}/", timeout=20).read() == b"from the node"
    subnet = pair.deployment.networks[0].subnet
    assert subnet in network.routed(), "another deployment would take the same addresses"


def test_commands_have_nothing_of_ours(pair: Running, web: NodeHandle) -> None:
    told = pair.connection("web").run(
        ("sh", "-c", "env; pwd; umask; ls -l /proc/$$/fd; tty; cat /proc/1/environ"), check=False, timeout=60
    )
    assert "hush" not in told.text and "NXC_" not in told.text and "PYTEST" not in told.text
    assert "\n/root\n0022\n" in told.text
    handles = [line for line in told.text.splitlines() if " -> " in line]
    assert len(handles) == 3, handles


def test_commands_have_the_rights_of_the_node_s_own_services(web: NodeHandle) -> None:
    mine, its = (
        web.succeed(f"sed -n 's/^CapEff:\\s*//p' /proc/{pid}/status").strip() for pid in ("self", "1")
    )
    assert mine == its
    before = time.time()
    web.fail("date -s '2000-01-01'")
    assert time.time() >= before
    web.fail("echo 1 > /proc/sys/vm/swappiness")
    web.fail("modprobe dummy || ip link add d type dummy && insmod /nowhere")


def test_a_login_shell_has_a_clean_environment(pair: Running) -> None:
    words = pair.connection("web").shell_argv()
    told = subprocess.run(
        words,
        input="env; exit 7\n",
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TERM": "xterm", "NXC_TEST_SECRET": "hush"},
        check=False,
    )
    assert told.returncode == 7 and "hush" not in told.stdout
    assert "TERM=xterm" in told.stdout.split() and "HOME=/root" in told.stdout.split()


def test_volumes_are_seen_by_those_who_asked(pair: Running, limited: NodeHandle, web: NodeHandle) -> None:
    data = pair.session.workspace.project.parent / "data"
    assert limited.succeed("cat '/in the way/read/note'") == "from outside\n"
    limited.fail("touch '/in the way/read/more'")
    limited.succeed("echo from the node > /data/answer")
    assert (data / "answer").read_text() == "from the node\n"
    limited.succeed("echo to all > /shared/told")
    assert web.succeed("cat /shared/told") == "to all\n"
    web.fail("test -e /data")


def test_limits_hold_for_services_and_commands(limited: NodeHandle, web: NodeHandle) -> None:
    greedy = "head -c 300m /dev/zero | tail | wc -c"
    assert web.succeed(greedy).strip() == str(300 << 20)
    assert limited.execute(f"sh -c '{greedy}'")[1].strip() != str(300 << 20)
    limited.fail(f"systemd-run --wait --quiet --pipe bash -o pipefail -c '{greedy}'")
    many = "for i in $(seq 80); do sleep 20 & done 2>&1; kill $(jobs -p) 2>/dev/null"
    assert "fork" in limited.execute(f"sh -c '{many}' 2>&1")[1].lower()
    assert "fork" not in web.execute(f"sh -c '{many}' 2>&1")[1].lower()


def test_a_share_of_the_processors_is_kept(pair: Running) -> None:
    groups = keeper.groups(pair.op, cgroups.find_hierarchies())
    if groups.version == 2:
        told = (groups.folders[cgroups.UNIFIED] / "limited/cpu.max").read_text()
        assert told.split() == ["50000", "100000"]
        return
    folder = groups.folders["cpu"] / "limited"
    assert (folder / "cpu.cfs_quota_us").read_text().strip() == "50000"
    pid = pair.node("limited").facts["pid"]
    assert isinstance(pid, int)
    assert machines.leader(pid) in cgroups.processes([folder])
    assert not (groups.folders["cpu"] / "web").exists()


def test_kernel_settings_are_the_node_s_own(limited: NodeHandle, web: NodeHandle) -> None:
    here = Path("/proc/sys/kernel/shmmax").read_text()
    assert limited.succeed("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax").split() == [
        "1",
        "123456",
    ]
    assert web.succeed("cat /proc/sys/kernel/shmmax") != "123456\n"
    assert Path("/proc/sys/kernel/shmmax").read_text() == here


def test_a_node_that_reboots_by_itself_keeps_its_files_and_its_way_in(
    pair: Running, limited: NodeHandle
) -> None:
    words = prefix(pair, "limited")
    former = limited.succeed("cat /proc/sys/kernel/random/boot_id")
    limited.succeed("echo kept > /root/kept; touch /run/lost; systemctl --no-block reboot")
    ask = (*words, "cat", "/proc/sys/kernel/random/boot_id", "/run/nxc/ready")
    end = time.monotonic() + 300
    while True:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=120, check=False)
        if told.returncode == 0 and not told.stdout.startswith(former) and len(told.stdout.split()) == 2:
            break
        assert time.monotonic() < end, "it did not reboot"
        time.sleep(0.05)
    assert told.stdout.split()[1] == pair.deployment.instances["limited"]
    limited.wait_until_succeeds("systemctl is-system-running | grep -x running", timeout=300)
    assert limited.succeed("cat /root/kept; ls /run/lost 2>&1 || true").startswith("kept\nls: ")
    assert limited.succeed("cat /proc/sys/kernel/shmmax") == "123456\n"
    limited.succeed("getent hosts web && ping -c 1 web 2>/dev/null || curl -s web || true")
    assert limited.get_console_log().count("Welcome to ") >= 2, "the console is kept over boots"


def test_a_node_that_was_shut_down_has_its_files_when_it_is_back(web: NodeHandle) -> None:
    web.succeed("echo kept > /root/kept")
    web.shutdown()
    with pytest.raises(DeployError, match="web is off and has no card to unplug") as caught:
        web.block()
    assert caught.value.hint == "start() boots it"
    web.unblock()
    web.start()
    assert web.succeed("cat /root/kept") == "kept\n"
    web.wait_for_open_port(80)


def test_two_deployments_have_nodes_of_the_same_names(pair: Running, web: NodeHandle) -> None:
    web.succeed("touch /root/of-the-first")
    with pair.session.up(pair.deployment.composition.source, flavour="nspawn", roles={"limited": 0}) as other:
        other["web"].fail("test -e /root/of-the-first")
        first, second = (each.deployment.networks[0].subnet for each in (pair, other))
        assert first != second
        address = pair.deployment.networks[0].members["web"][0]
        other["web"].fail(f"timeout 2 bash -c ': < /dev/tcp/{address}/80'")
    assert web.succeed("hostname").strip() == "web"


# When parts are killed


@pytest.fixture
def alone(cached: Path, tmp_path: Path) -> Iterator[Running]:
    """One node of its own, whatever becomes of it."""
    source = write(tmp_path)
    session = Session.open(source.parent)
    running = session.start(source, flavour="nspawn", roles={"limited": 0})
    yield running
    session.down(running.id)
    assert left(running) == []


def left(running: Running) -> list[str]:
    """List what the kernel still has of a deployment."""
    found = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{keeper.plain(running.id)}")]
    if network.is_ours(running.id):
        found.append(network.link_name(running.id))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"/{running.id}/nodes/" in (process / "mountinfo").read_text():
                found.append(f"{process.name} {(process / 'comm').read_text().strip()}")
        except OSError:
            continue
    return found


def test_nothing_is_left_when_systemd_nspawn_is_killed(alone: Running) -> None:
    """The system inside outlives it."""
    pid = alone.node("web").facts["pid"]
    assert isinstance(pid, int)
    leader = machines.leader(pid)
    assert leader is not None
    (supervisor,) = machines._children(pid)
    os.kill(supervisor, signal.SIGKILL)
    end = time.monotonic() + 120
    while alone.flavour.observe(alone.node("web"), alone.op).alive:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert lives(leader)
    assert alone["web"].is_up() is False
    alone["web"].start()
    assert not lives(leader), "two systems would have the same files"
    alone["web"].wait_for_open_port(80)


def test_a_command_is_lost_with_its_node_though_that_is_not_buried_yet(alone: Running) -> None:
    pid = alone.node("web").facts["pid"]
    assert isinstance(pid, int)
    leader = machines.leader(pid)
    assert leader is not None
    (supervisor,) = machines._children(pid)
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(alone.connection("web").run, ("sleep", "778"), check=False, timeout=120)
        alone["web"].wait_until_succeeds("pidof sleep")
        os.kill(supervisor, signal.SIGSTOP)
        try:
            os.kill(leader, signal.SIGKILL)
            with pytest.raises(CommandError, match="the node went down"):
                lost.result(timeout=120)
        finally:
            os.kill(supervisor, signal.SIGCONT)


def test_a_killed_keeper_is_told_when_it_is_needed(alone: Running) -> None:
    (claim,) = alone.op.claimed(keeper.KEEPER)
    pid = claim.data["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    alone["web"].succeed("true")
    end = time.monotonic() + 120
    while keeper.find(alone.op, cgroups.find_hierarchies()) is not None:
        assert time.monotonic() < end
        time.sleep(0.05)
    with pytest.raises(DeployError, match="keeps the mounts and the network") as told:
        alone["web"].block()
    assert f"nxc down {alone.id}" in told.value.hint


def test_why_systemd_nspawn_does_not_start_is_told(cached: Path, tmp_path: Path) -> None:
    source = write(tmp_path)
    session = Session.open(source.parent)
    session.build(source, flavour="nspawn")
    vanish = session.sinks

    def remove(event: object) -> None:
        if "starting" in str(event):
            shutil.rmtree(tmp_path / "data", ignore_errors=True)

    vanish.append(remove)
    with pytest.raises(DeployError) as told:
        session.start(source, flavour="nspawn", roles={"web": 0})
    assert "limited" in told.value.message and f"{tmp_path}/data" in told.value.message
    session.down(session.deployments()[-1].id)


def test_a_firewall_that_forwards_nothing_is_not_in_the_way(cached: Path, tmp_path: Path) -> None:
    """As docker sets it, also for what passes through bridges; in a network that stands for this machine."""
    shutil.copytree(EXAMPLES / "webserver", tmp_path / "web", ignore=shutil.ignore_patterns(".nxc"))
    script = """
        ip link set lo up
        iptables -P FORWARD DROP
        sysctl -qw net.bridge.bridge-nf-call-iptables=1 || :
        "$@"
        ip -brief link
    """
    argv = ("unshare", "--net", "sh", "-ec", script, "sh", str(NXC), "-C", str(tmp_path / "web"))
    done = subprocess.run(
        (*argv, "up", "-f", "nspawn", "-t"), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    cards = {line.split()[0].partition("@")[0] for line in done.stdout.splitlines() if "link/" not in line}
    assert not {card for card in cards if card.startswith("nxc")}
