"""The Debian base for real: what is in the systems it builds, twice the same, and what it says else."""

from __future__ import annotations

import importlib.util
import json
import pwd
import secrets
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nxc_core.errors import BuildError, ConfigError, NxcError, PreflightError
from nxc_core.model import LAYERS, RAMDISK, ROOTFS_TAR, Guest
from nxc_debian.base import DebianBase
from nxc_debian.options import DebianOptions
from tests import debian_bench
from tests.debian_bench import EVENTS, GUEST, build, layers_made, operation, write

pytestmark = [pytest.mark.live]


@pytest.fixture(scope="module")
def project(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its lock: so the tests of this module share layers."""
    folder = tmp_path_factory.mktemp("project")
    build(write(folder), ROOTFS_TAR, operation(folder / ".nxc", shared_cache))
    return folder


@pytest.fixture(scope="module")
def system(project: Path, shared_cache: Path) -> Iterator[dict[str, tarfile.TarFile]]:
    made = build(project / "composition.nix", ROOTFS_TAR, operation(project / ".nxc", shared_cache))
    opened = {name.removesuffix(".tar"): tarfile.open(path) for name, path in made.files.items()}  # noqa: SIM115
    yield opened
    for tar in opened.values():
        tar.close()


def text(tar: tarfile.TarFile, name: str) -> str:
    stream = tar.extractfile(f"./{name}")
    assert stream is not None, name
    return stream.read().decode()


def test_strings_bring_what_they_mention(system: dict[str, tarfile.TarFile]) -> None:
    full = system["full"]
    brick = full.getmember("./usr/local/bin/brick").linkname
    words = text(full, brick.lstrip("/")).split()
    hello = full.getmember("." + next(word for word in words if word.endswith("/bin/hello")))
    assert hello.linkname == "/usr/bin/hello"
    assert full.getmember("./usr/bin/hello").isreg()
    run = text(full, "etc/conf").partition("=")[2]
    member = full.getmember(f".{run}")
    assert (member.mode, member.uid, member.gid) == (0o555, 0, 0)


def test_commands_are_run_and_joined(system: dict[str, tarfile.TarFile]) -> None:
    full = system["full"]
    made = str(Path(full.getmember("./usr/local/bin/made").linkname).parent.parent)
    assert text(full, f"{made}/post".lstrip("/")) == "x\n"
    value = full.getmember(f".{made}/value").linkname
    assert text(full, value.lstrip("/")) == "bar\n"


def test_files_have_their_owner_and_folders_arrive(system: dict[str, tarfile.TarFile]) -> None:
    full = system["full"]
    conf = full.getmember("./etc/conf")
    assert (conf.mode, conf.uid, conf.gid) == (0o640, 4321, 1234)
    folder = full.getmember("./etc/folder").linkname
    assert text(full, f"{folder}/data".lstrip("/")) == "data\n"
    home = full.getmember("./home/alice")
    assert (home.mode, home.uid) == (0o700, 4321)
    assert "wheel:x:1234:alice" in text(full, "etc/group").splitlines()


def test_only_what_is_asked_for_starts(system: dict[str, tarfile.TarFile]) -> None:
    wants = "./etc/systemd/system/multi-user.target.wants"
    assert {f"{wants}/hello.service", f"{wants}/nginx.service"} <= set(system["full"].getnames())
    quiet = set(system["quiet"].getnames())
    assert "./usr/sbin/nginx" in quiet
    assert f"{wants}/nginx.service" not in quiet
    assert f"{wants}/ssh.service" not in quiet


def test_nothing_in_a_system_is_of_one_machine(system: dict[str, tarfile.TarFile]) -> None:
    for tar in system.values():
        names = tar.getnames()
        assert text(tar, "etc/machine-id") == ""
        left = [
            name
            for name in names
            if name.startswith(("./etc/ssh/ssh_host_", "./run/", "./tmp/", "./dev/", "./proc/", "./sys/"))
            or name in ("./etc/hostname", "./etc/resolv.conf", "./usr/sbin/policy-rc.d", "./etc/shadow-")
            or (name.startswith("./var/log/") and tar.getmember(name).isreg())
        ]
        assert left == []
        root = tar.getmember(".")
        assert (root.mode, root.uid, root.gid) == (0o755, 0, 0)
        assert "\nPackage: perl\n" not in text(tar, "var/lib/dpkg/status"), "usrmerge brought perl"
        assert not any(member.isdev() for member in tar.getmembers()), "a whiteout is left"


def test_equal_roles_share_a_layer_and_kinds_share_layers(project: Path, shared_cache: Path) -> None:
    op = operation(project / ".nxc", shared_cache)
    stacked = build(project / "composition.nix", LAYERS, op)
    assert stacked.roles["quiet"].layers == stacked.roles["twin"].layers
    assert stacked.roles["full"].layers[:-1] == stacked.roles["quiet"].layers[:-1]
    since = len(EVENTS)
    disk = build(project / "composition.nix", RAMDISK, op)
    assert layers_made(since) == []
    assert {name: layer.digest for name, layer in disk.layers.items()} == {
        name: layer.digest for name, layer in stacked.layers.items()
    }
    assert disk.roles["full"].cmdline == "nxc.role=full quiet"
    with disk.files["initrd"].open("rb") as stream:
        argv = ["cpio", "-t", "--quiet"]
        listed = subprocess.run(argv, stdin=stream, capture_output=True, check=True).stdout.decode()
    assert {"init", "bin/busybox", "nxc/modules/order"} <= set(listed.split())


def test_a_module_that_only_the_generic_kernel_has_brings_it(
    project: Path, shared_cache: Path, tmp_path: Path
) -> None:
    source = write(tmp_path, '{ ... }: { roles.a.boot.kernelModules = [ "no-such-module" ]; }')
    shutil.copy(project / "nxc.lock", tmp_path / "nxc.lock")
    with pytest.raises(BuildError, match="role a asks for the kernel module no_such_module"):
        build(source, LAYERS, operation(tmp_path / ".nxc", shared_cache))
    assert "kernel-generic" in json.loads((tmp_path / "nxc.lock").read_text())["sets"]


@pytest.mark.full
def test_a_driver_that_servers_do_not_have_brings_the_whole_kernel(
    project: Path, shared_cache: Path, tmp_path: Path
) -> None:
    """Real hardware has a kernel without sound, unless a role asks for it."""
    guest = Guest(kernel_modules=("igb",), seed="cpio")
    listed = {}
    for name in ("dummy", "snd_dummy"):
        source = write(tmp_path / name, f'{{ ... }}: {{ roles.a.boot.kernelModules = [ "{name}" ]; }}')
        shutil.copy(project / "nxc.lock", source.parent / "nxc.lock")
        artifact = build(source, LAYERS, operation(source.parent / ".nxc", shared_cache), guest=guest)
        (kernel,) = (layer for layer in artifact.layers.values() if layer.name.startswith("kernel-"))
        with tarfile.open(kernel.tar, "r:") as tar:
            listed[name] = {Path(member).name.partition(".ko")[0] for member in tar.getnames()}
    assert {"igb", "bnxt_en", "e1000e"} <= listed["dummy"]
    assert not {"snd-dummy", "cfg80211", "nouveau"} & listed["dummy"]
    assert {"snd-dummy", "cfg80211", "nouveau"} <= listed["snd_dummy"]


SCRIPT = """
import json, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
import importlib.util
spec = importlib.util.spec_from_file_location("shared", sys.argv[2])
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
from nxc_core.model import RAMDISK, ROOTFS_TAR
project, cache = Path(sys.argv[3]), Path(sys.argv[4])
found = {}
for kind in (RAMDISK, ROOTFS_TAR):
    op = shared.operation(project / ".nxc", cache)
    found |= shared.digests(shared.build(project / "composition.nix", kind, op, scratch=sys.argv[5]))
print(json.dumps(found))
"""


def importable() -> list[str]:
    """Folders that hold what the base imports, for another interpreter."""
    found = []
    for name in (
        "nxc_core",
        "nxc_debian",
        "attrs",
        "attr",
        "cattrs",
        "pluggy",
        "typing_extensions",
    ):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, name
        folder = Path(spec.origin)
        found.append(str(folder.parent.parent if folder.name == "__init__.py" else folder.parent))
    return list(dict.fromkeys(found))


@pytest.mark.full
def test_root_and_an_ordinary_user_build_the_same_bytes(
    project: Path, shared_cache: Path, user: pwd.struct_passwd, tmp_path: Path
) -> None:
    """From two caches that hold packages only: each file of each kind has one sha256."""
    home = Path(user.pw_dir)
    as_user = ["runuser", "-u", user.pw_name, "--", "env", f"HOME={home}", "/usr/bin/python3"]
    results = []
    for who, place, scratch in (
        ([sys.executable], tmp_path / "root", "memory"),
        (as_user, home / "work", "disk"),
    ):
        shutil.copytree(project, place / "project", ignore=shutil.ignore_patterns(".nxc"))
        shutil.copytree(shared_cache / "nxc/debian/debs", place / "cache/nxc/debian/debs")
        shutil.copytree(shared_cache / "nxc/debian/apt", place / "cache/nxc/debian/apt")
        if who is as_user:
            subprocess.run(["chown", "-R", user.pw_name, home], check=True)
        argv = [*who, "-c", SCRIPT, json.dumps(importable()), debian_bench.__file__]
        argv += [str(place / "project"), str(place / "cache"), scratch]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=1200, check=False, cwd="/")
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(json.loads(done.stdout.splitlines()[-1]))
        assert not list((place / "cache/nxc/debian/work").iterdir())
    assert results[0] == results[1]
    assert len(results[0]) > 10


def test_a_command_that_fails_names_itself_and_its_last_words(
    project: Path, shared_cache: Path, tmp_path: Path
) -> None:
    source = write(
        tmp_path,
        "{ pkgs, ... }: { roles.broken.environment.etc.x.source ="
        ' pkgs.runCommand "bad" { } "echo no good >&2; exit 3"; }',
    )
    shutil.copy(project / "nxc.lock", tmp_path / "nxc.lock")
    with pytest.raises(BuildError) as told:
        build(source, ROOTFS_TAR, operation(tmp_path / ".nxc", shared_cache))
    assert "role broken" in told.value.message
    assert "`bad' failed (exit code 3)" in told.value.message
    assert "no good" in told.value.message


def test_other_roles_are_kept_when_one_fails(project: Path, shared_cache: Path, tmp_path: Path) -> None:
    token = secrets.token_hex(4)
    good = f'good.environment.etc.token.text = "{token}";'
    bad = 'bad.environment.etc.x.source = pkgs.runCommand "bad" { } "exit 3";'
    shutil.copy(project / "nxc.lock", tmp_path / "nxc.lock")
    op = operation(tmp_path / ".nxc", shared_cache)
    with pytest.raises(BuildError):
        build(write(tmp_path, f"{{ pkgs, ... }}: {{ roles = {{ {good} {bad} }}; }}"), ROOTFS_TAR, op)
    since = len(EVENTS)
    build(write(tmp_path, f"{{ pkgs, ... }}: {{ roles = {{ {good} }}; }}"), ROOTFS_TAR, op)
    assert layers_made(since) == []


@pytest.mark.parametrize(
    ("packages", "message", "hint"),
    [
        ("nginxx-light", "no Debian package nginxx-light", "nginx-light"),
        ("mail-transport-agent", "virtual package", "exim4-daemon-light"),
    ],
)
def test_a_package_that_is_none_is_named(
    packages: str, message: str, hint: str, project: Path, shared_cache: Path, tmp_path: Path
) -> None:
    source = write(tmp_path, f'{{ ... }}: {{ roles.a.nxc.debian.packages = [ "{packages}" ]; }}')
    with pytest.raises(BuildError, match=message) as told:
        build(source, ROOTFS_TAR, operation(tmp_path / ".nxc", shared_cache))
    assert hint in told.value.hint


def test_a_wrong_mirror_is_one_error_with_a_way_out(tmp_path: Path) -> None:
    source = write(tmp_path, "{ ... }: { roles.a = { }; }")
    op = operation(tmp_path / ".nxc", tmp_path / "cache")
    with pytest.raises(BuildError, match="could not be fetched") as told:
        build(source, ROOTFS_TAR, op, mirror="http://127.0.0.1:9/debian")
    assert "mirror" in told.value.hint
    with pytest.raises(ConfigError, match="not a release"):
        build(source, ROOTFS_TAR, op, suite="buster")


def test_no_mirror_at_all_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nxc_debian.sources.machine_sources", lambda: [])
    op = operation(tmp_path / ".nxc", tmp_path / "cache")
    with pytest.raises(PreflightError, match="offer no Debian") as told:
        build(write(tmp_path), ROOTFS_TAR, op)
    assert "debian.mirror" in told.value.hint
    assert any(
        not found.ok and found.subject == "Debian mirror" for found in DebianBase(DebianOptions()).check(op)
    )


def test_a_locked_version_that_went_is_named(project: Path, shared_cache: Path, tmp_path: Path) -> None:
    source = write(tmp_path)
    lock = json.loads((project / "nxc.lock").read_text())
    lock["packages"]["hello"] |= {
        "version": "0.1",
        "filename": "pool/main/h/hello/hello_0.1_amd64.deb",
        "sha256": "0" * 64,
    }
    (tmp_path / "nxc.lock").write_text(json.dumps(lock))
    with pytest.raises(BuildError, match=r"no longer has hello 0\.1") as told:
        build(source, ROOTFS_TAR, operation(tmp_path / ".nxc", shared_cache))
    assert "--relock" in told.value.hint


def test_offline_without_a_package_names_it(project: Path, shared_cache: Path, tmp_path: Path) -> None:
    source = write(tmp_path)
    shutil.copy(project / "nxc.lock", tmp_path / "nxc.lock")
    shutil.copytree(shared_cache / "nxc/debian/apt", tmp_path / "cache/nxc/debian/apt")
    with pytest.raises(BuildError, match=r"offline, and adduser") as told:
        build(source, ROOTFS_TAR, operation(tmp_path / ".nxc", tmp_path / "cache", offline=True))
    assert told.value.hint


def test_a_program_that_is_missing_is_named(
    project: Path, shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which
    monkeypatch.setattr(
        "nxc_debian.doctor.shutil.which",
        lambda name, path=None: None if name == "mmdebstrap" else real(name, path=path),
    )
    op = operation(tmp_path / ".nxc", shared_cache)
    found = {finding.subject: finding for finding in DebianBase(DebianOptions()).check(op)}
    assert not found["mmdebstrap"].ok and "mmdebstrap" in found["mmdebstrap"].hint
    with pytest.raises(PreflightError, match="mmdebstrap"):
        build(write(tmp_path, '{ ... }: { roles.a.environment.etc.unseen.text = "x"; }'), ROOTFS_TAR, op)


def test_the_fingerprint_of_two_thousand_files_takes_milliseconds(tmp_path: Path) -> None:
    source = write(tmp_path)
    for number in range(2000):
        (tmp_path / "folder" / f"f{number}").touch()
    base = DebianBase(DebianOptions())
    op = operation(tmp_path / ".nxc", tmp_path / "cache")
    took = []
    for _ in range(5):
        start = time.thread_time()  # others may keep the machine busy
        base.fingerprint(source, RAMDISK, GUEST, op)
        took.append(time.thread_time() - start)
    assert min(took) < 0.05, took


def test_nothing_of_an_edit_of_the_test_script_is_built(
    project: Path, shared_cache: Path, tmp_path: Path
) -> None:
    source = write(tmp_path)
    shutil.copy(project / "nxc.lock", tmp_path / "nxc.lock")
    op = operation(tmp_path / ".nxc", shared_cache)
    before = build(source, ROOTFS_TAR, op)
    since = len(EVENTS)
    source.write_text(source.read_text().replace('"pass"', '"changed"'))
    assert build(source, ROOTFS_TAR, op) == before
    assert layers_made(since) == []


def test_two_builds_at_once_share_the_work(project: Path, shared_cache: Path, tmp_path: Path) -> None:
    token = secrets.token_hex(4)
    source = write(tmp_path, f'{{ ... }}: {{ roles.a.environment.etc.token.text = "{token}"; }}')
    shutil.copy(project / "nxc.lock", tmp_path / "nxc.lock")
    since = len(EVENTS)
    failures: list[NxcError] = []

    def attempt(number: int) -> None:
        try:
            build(source, ROOTFS_TAR, operation(tmp_path / f".nxc{number}", shared_cache))
        except NxcError as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert failures == []
    assert len([name for name in layers_made(since) if name == "role a"]) == 1
