"""Every kind really built for every example on a stand-in for nixpkgs, and looked into."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from tests.standin import EXAMPLES, StandIn, nix_path, stand_in

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

Document = dict[str, Any]

# One flavour of each kind; of closure also the one for containers.
FLAVOURS = {
    "vm-ramdisk": "ramdisk",
    "vm": "closure",
    "docker": "closure",
    "g5k-image": "rootfs-tar",
    "g5k-nfs-store": "nfs-store",
    "archive": "docker-archive",
}
DESCRIBED = """{
  vm-ramdisk = { }; vm = { }; docker = { }; g5k-image = { }; g5k-nfs-store = { };
  archive = { kind = "docker-archive"; guest = { kernel = false; root = "container"; }; };
}"""
BOOTING = [name for name in FLAVOURS if name not in ("docker", "archive")]

SEVERAL = """{
  foo = { pkgs, ... }: { roles.one = ./role.nix; testScript = "one.succeed('true')"; };
  bar = {
    roles.one = ./role.nix;
    roles.two = { pkgs, ... }: { boot.kernelPackages = pkgs.linuxPackages_latest; };
  };
}
"""
ROLE = "{ pkgs, ... }: { environment.systemPackages = [ pkgs.hello ]; }"
SCRIPTED = """{ pkgs, ... }: {
  roles = { foo = { }; bar.environment.etc.greeting.text = "hello"; };
  rolesDistribution = @distribution@;
  testScript = "@script@";
}
"""


@frozen(kw_only=True)
class Built:
    """Packages by name, such as ``composition::vm``, all of them built."""

    found: StandIn
    derivations: dict[str, str]
    documents: dict[str, Document]

    def closure(self, name: str) -> list[str]:
        """Return the store paths of all roles of a package, sorted."""
        toplevels = [role["toplevel"] for role in self.documents[name]["roles"].values()]
        return sorted(set(self.found.run("nix-store", "--query", "--requisites", *toplevels).split()))

    def file(self, name: str, key: str) -> Path:
        """Return one of a package's files."""
        return self.found.physical(self.documents[name]["files"][key])


@frozen
class Yard:
    """Builds a composition once for all tests."""

    found: StandIn
    done: dict[Path, Built] = field(factory=dict)

    def drvs(self, source: Path) -> dict[str, str]:
        """Evaluate all packages of a composition file, or of a file of several."""
        key = "compositions" if source.name == "compositions.nix" else "composition"
        expression = f"""builtins.mapAttrs (_: package: package.drvPath) ((import nxc {{ }}).compose {{
            inherit nixpkgs;
            system = "x86_64-linux";
            flavours = {DESCRIBED};
            {key} = {nix_path(source)};
        }})"""
        drvs: dict[str, str] = self.found.evaluate(expression)
        return drvs

    def build(self, source: Path) -> Built:
        """Evaluate and build all packages of a file, once."""
        if source not in self.done:
            drvs = self.drvs(source)
            out = self.found.run("nix-store", "--realise", "-j2", "--quiet", *drvs.values(), timeout=600)
            documents = [json.loads(self.found.physical(path).read_text()) for path in out.split()]
            named = dict(zip(drvs, documents, strict=True))
            self.done[source] = Built(found=self.found, derivations=drvs, documents=named)
        return self.done[source]

    def write(self, **files: str) -> Path:
        """Put Nix files into a folder of their own; return the first."""
        folder = self.found.home / f"project {len(list(self.found.home.glob('project *')))}"
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name}.nix").write_text(text)
        return folder / f"{next(iter(files))}.nix"


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    return Yard(stand_in(tmp_path_factory.mktemp("kinds")))


@functools.cache
def cases() -> list[str]:
    """Name what is built: all examples, and several compositions in one file."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/composition.nix")) + ["several"]


@pytest.fixture(scope="module", params=cases())
def built(request: pytest.FixtureRequest, yard: Yard) -> Built:
    """Return one of the cases, built for every flavour."""
    if request.param == "several":
        return yard.build(yard.write(compositions=SEVERAL, role=ROLE))
    return yard.build(EXAMPLES / request.param / "composition.nix")


def each(built: Built, *kinds: str) -> Iterator[tuple[str, Document]]:
    """Yield the packages of these kinds."""
    for name, document in built.documents.items():
        if document["kind"] in kinds:
            yield name, document


def registered(text: str) -> dict[str, list[str]]:
    """Return what a registration says: paths and their references."""
    lines = iter(text.splitlines())
    paths = {}
    for path in lines:
        digest, size, deriver, count = (next(lines) for _ in range(4))
        assert digest.startswith("sha256:") and int(size) > 0 and deriver == ""
        paths[path] = [next(lines) for _ in range(int(count))]
    return paths


def archives(data: bytes) -> dict[str, bytes]:
    """Return the files of uncompressed cpio archives, each of which must begin aligned."""
    found, at = {}, 0
    while at < len(data):
        assert at % 4 == 0 and data[at : at + 6] == b"070701", f"no archive at {at}"
        numbers = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        start = at + 110
        name = data[start : start + numbers[11] - 1].decode()
        content = (start + numbers[11] + 3) // 4 * 4
        end = content + numbers[6]
        if name == "TRAILER!!!":
            at = end
            while at < len(data) and data[at] == 0:
                at += 1
        else:
            assert numbers[2:4] == [0, 0], "all is root's"
            found[name] = data[content:end]
            at = (end + 3) // 4 * 4
    return found


def added(built: Built, document: Document, image: str) -> dict[str, bytes]:
    """Return the files that a boot image's initrd has beyond the role's own initrd, which comes first."""
    roles = [role for role in document["roles"].values() if role["boot"] == image]
    whole = built.found.physical(document["boot"][image]["initrd"]).read_bytes()
    for role in roles:
        own = built.found.physical(f"{role['toplevel']}/initrd").read_bytes()
        assert whole.startswith(own)
    return archives(whole[len(own) + -len(own) % 4 :])


def test_documents_say_what_was_built(built: Built) -> None:
    assert {document["flavour"] for document in built.documents.values()} == set(FLAVOURS)
    for name, document in built.documents.items():
        assert document["schema"] == "nxc.nixos/1"
        assert name == f"{document['composition']}::{document['flavour']}"
        assert document["kind"] == FLAVOURS[document["flavour"]]
        assert document["system"] == "x86_64-linux"
        for role in document["roles"].values():
            assert role["init"] == f"{role['toplevel']}/init"
            assert built.found.physical(role["init"]).stat().st_mode & 0o111
        used = {role["boot"] for role in document["roles"].values()}
        assert used == (set(document["boot"]) if document["flavour"] in BOOTING else {None})
        for files in document["boot"].values():
            for file in files.values():
                assert Path(f"{built.found.store}{file}").is_file(), "no link that leads out of the store"


def test_roles_share_boot_images_where_they_can(built: Built) -> None:
    for document in built.documents.values():
        parts = {
            role["boot"]: (
                built.found.physical(f"{role['toplevel']}/kernel"),
                built.found.physical(f"{role['toplevel']}/initrd"),
            )
            for role in document["roles"].values()
            if role["boot"]
        }
        assert len(set(parts.values())) == len(parts)
        for image, (kernel, _) in parts.items():
            copied = built.found.physical(document["boot"][image]["kernel"])
            assert copied.read_bytes() == kernel.read_bytes()


def test_a_ramdisk_holds_one_store_of_all_roles(built: Built, tmp_path: Path) -> None:
    for number, (name, document) in enumerate(each(built, "ramdisk")):
        packed = [added(built, document, image) for image in document["boot"]]
        assert all(files == packed[0] for files in packed)
        assert list(packed[0]) == ["nix-store.squashfs"]
        image = tmp_path / f"{number}.squashfs"
        image.write_bytes(packed[0]["nix-store.squashfs"])
        listing = squashed(built, "-lln", image).splitlines()
        members = [line.split(maxsplit=5) for line in listing if "squashfs-root" in line]
        assert {member[1] for member in members} == {"0/0"}
        tops = {member[5].split(" -> ")[0].split("/")[1] for member in members if "/" in member[5]}
        closure = built.closure(name)
        assert tops == {Path(path).name for path in closure} | {"nix-path-registration"}
        told = registered(squashed(built, "-cat", image, "nix-path-registration"))
        assert sorted(told) == closure
        assert all(set(references) <= set(told) for references in told.values())


def squashed(built: Built, how: str, image: Path, *names: str) -> str:
    """Ask unsquashfs about an image."""
    return built.found.run("unsquashfs", how, str(image), *names)


def test_a_closure_is_registered_whole(built: Built) -> None:
    for name, _ in each(built, "closure"):
        assert sorted(registered(built.file(name, "registration").read_text())) == built.closure(name)


def test_an_nfs_store_is_named_whole_and_boots_without_it(built: Built) -> None:
    for name, document in each(built, "nfs-store"):
        closure = built.closure(name)
        assert sorted(built.file(name, "store-paths").read_text().split()) == closure
        assert sorted(registered(built.file(name, "registration").read_text())) == closure
        for image in document["boot"]:
            assert not added(built, document, image)


def test_a_tar_is_a_root_file_system(built: Built, tmp_path: Path) -> None:
    for name, document in each(built, "rootfs-tar"):
        paths = {document["files"][f"{role}.tar"] for role in document["roles"]}
        assert len(paths) == 1 and len(document["files"]) == len(document["roles"])
        packed = built.found.physical(paths.pop())
        with tarfile.open(fileobj=io.BytesIO(unpacked("zstd", packed))) as tar:
            members = check_root(built, name, tar)
            for image, files in document["boot"].items():
                for part, file in files.items():
                    stream = tar.extractfile(members[f"boot/{image}/{part}"])
                    assert stream is not None
                    assert stream.read() == built.found.physical(file).read_bytes()


def unpacked(program: str, packed: Path) -> bytes:
    """Uncompress a file with a program of this machine."""
    return subprocess.run((program, "-dcq", str(packed)), stdout=subprocess.PIPE, check=True).stdout


def check_root(built: Built, name: str, tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Check a root file system in a tar: owners, times, folders, the store. Return its members."""
    members = {member.name.removeprefix("./"): member for member in tar}
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 1)}
    assert not any(member.islnk() for member in members.values())
    assert {"boot", "dev", "etc", "proc", "run", "sys", "tmp", "var"} <= set(members)
    assert members["tmp"].mode == 0o1777
    tops = {"/" + path for path in members if path.count("/") == 2 and path.startswith("nix/store/")}
    closure = built.closure(name)
    assert tops == {*closure, "/nix/store/nix-path-registration"}
    stream = tar.extractfile(members["nix/store/nix-path-registration"])
    assert stream is not None
    assert sorted(registered(stream.read().decode())) == closure
    for role in built.documents[name]["roles"].values():
        init = members[role["init"][1:]]
        assert init.isreg() and init.mode == 0o555
    return members


def test_an_archive_is_what_docker_loads(built: Built) -> None:
    for name, document in each(built, "docker-archive"):
        assert list(document["files"]) == ["image.tar"]
        packed = gzip.decompress(built.file(name, "image.tar").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            content = {member.name.removeprefix("./"): tar.extractfile(member) for member in tar}
            assert {(member.uid, member.mtime) for member in tar} == {(0, 1)}
            texts = {key: stream.read() for key, stream in content.items() if stream is not None}
        (image,) = json.loads(texts["manifest.json"])
        (layer,) = image["Layers"]
        assert len(image["RepoTags"]) == 1
        config = texts[image["Config"]]
        assert image["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
        described = json.loads(config)
        assert (described["architecture"], described["os"]) == ("amd64", "linux")
        assert described["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(texts[layer]).hexdigest()}"]
        with tarfile.open(fileobj=io.BytesIO(texts[layer])) as tar:
            check_root(built, name, tar)


def test_the_classic_example_ends_in_units_and_open_ports(yard: Yard) -> None:
    """``nodes``, packages, a service and a port of K3S, in the systems that were built."""
    built = yard.build(EXAMPLES / "k3s/composition.nix")
    roles = built.documents["composition::vm-ramdisk"]["roles"]
    etc = {name: built.found.physical(f"{role['toplevel']}/etc") for name, role in roles.items()}
    ports = {name: read(built, folder / "firewall.json") for name, folder in etc.items()}
    assert json.loads(ports["server"])["allowedTCPPorts"] == [6443]
    assert json.loads(ports["agent"])["allowedTCPPorts"] == []
    units = {name: read(built, folder / "systemd/system" / "k3s.service") for name, folder in etc.items()}
    assert "/bin/k3s server --agent-token " in units["server"]
    assert "/bin/k3s agent --server https://server:6443 --token " in units["agent"]
    for role in roles.values():
        programs = built.found.physical(f"{role['toplevel']}/sw") / "bin"
        assert {"k3s", "gzip"} <= {path.name for path in programs.iterdir()}


def read(built: Built, path: Path) -> str:
    """Read a file of a system, each folder of which may be a link into the store."""
    found = Path("/")
    for part in path.relative_to(built.found.store).parts:
        found = Path("/") / built.found.physical(found / part).relative_to(built.found.store)
    return built.found.physical(found).read_text()


def test_all_in_one_has_the_roles_of_all_compositions(yard: Yard) -> None:
    built = yard.build(yard.write(compositions=SEVERAL, role=ROLE))
    document = built.documents["::vm-ramdisk"]
    assert set(document["roles"]) == {"foo.one", "bar.one", "bar.two"}
    assert document["roles"]["foo.one"] == document["roles"]["bar.one"], "the same system is the same"
    assert document["roles"]["bar.two"]["boot"] != document["roles"]["bar.one"]["boot"], "another kernel"
    assert len(document["boot"]) == 2


def test_a_store_unpacked_and_registered_is_valid(yard: Yard, tmp_path: Path) -> None:
    """What a booted machine does with the store of a ramdisk, and that Nix then finds every path whole."""
    built = yard.build(EXAMPLES / "basic/composition.nix")
    document = built.documents["composition::vm-ramdisk"]
    (image,) = document["boot"]
    squashfs = tmp_path / "store.squashfs"
    squashfs.write_bytes(added(built, document, image)["nix-store.squashfs"])
    root = tmp_path / "root"
    (root / "nix").mkdir(parents=True)
    store = root / "nix/store"
    built.found.run("unsquashfs", "-quiet", "-no-progress", "-dest", str(store), str(squashfs))
    shutil.move(store / "nix-path-registration", tmp_path / "registration")
    command = ("nix-store", "--store", str(root))
    loaded = f"{' '.join(command)} --load-db < {tmp_path}/registration"
    built.found.run("sh", "-c", loaded)
    assert built.found.run(*command, "--verify", "--check-contents") == ""
    closure = built.closure("composition::vm-ramdisk")
    assert sorted(built.found.run(*command, "--query", "--requisites", *closure).split()) == closure
    # A verification that finds nothing would not see this either.
    broken = root / document["roles"]["foo"]["toplevel"][1:] / "nixos-version"
    broken.chmod(0o644)
    broken.write_text("another")
    assert built.found.attempt(*command, "--verify", "--check-contents").returncode != 0


def test_what_only_the_driver_reads_is_in_no_image(yard: Yard) -> None:
    """With another script and distribution every derivation is the same, and none holds a word of them."""

    def written(distribution: str, script: str) -> Path:
        text = SCRIPTED.replace("@distribution@", distribution).replace("@script@", script)
        return yard.write(composition=text)

    first = yard.drvs(written("{ }", "start_all() # a-word-of-the-script"))
    assert len(first) == len(FLAVOURS)
    assert yard.drvs(written('{ foo = [ "a-host-name" ]; bar = 3; }', "pass")) == first
    paths = yard.found.run("nix-store", "--query", "--requisites", *first.values()).split()
    assert len(paths) > 50
    for path in paths:
        if path.endswith(".drv"):
            assert "a-word-of-the-script" not in yard.found.physical(path).read_text()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_images_are_the_same_when_built_again(yard: Yard, flavour: str) -> None:
    built = yard.build(EXAMPLES / "basic/composition.nix")
    name = f"composition::{flavour}"
    listed = built.found.run("nix-store", "--query", "--requisites", built.derivations[name]).split()
    words = ("-composition-", "-nixos-system-", "-closure-info", "-nxc-build.json")
    own = [path for path in listed if path.endswith(".drv") and any(word in path for word in words)]
    assert len(own) >= 4
    built.found.run("nix-store", "--realise", "--check", "-j2", "--quiet", *own)
