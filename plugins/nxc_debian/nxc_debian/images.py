"""Kinds made of layers: the ramdisk, put together by concatenation, and the merged tar."""

from __future__ import annotations

import contextlib
import io
import lzma
import secrets
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from nxc_core import cpio
from nxc_core.cpio import Member, folder, write_archive
from nxc_core.errors import BuildError
from nxc_core.model import Layer
from nxc_core.operation import Operation
from nxc_debian import tars
from nxc_debian.files import digest, disk_full
from nxc_debian.specs import recipe_digest


class NotMadeError(Exception):
    """An image would have to be made, and nothing may be."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write; it takes its place when all went well."""
    with disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def merged_tar(cache: Path, layers: Sequence[Layer], op: Operation) -> Path:
    """Return one tar of the layers, lowest first."""
    path = (
        cache / "images" / f"rootfs-{digest([recipe_digest(), [layer.digest for layer in layers]])[:16]}.tar"
    )
    if not path.exists():
        if op.dry:
            raise NotMadeError("the root file systems")
        size = sum(layer.tar.stat().st_size for layer in layers) >> 20
        op.need_disk(cache, size + 10, "a root file system")
        op.step("merging layers", topic="build")
        with replacing(path) as part:
            tars.merge(part, [layer.tar for layer in layers])
    return path


def ramdisk(
    cache: Path,
    small: Sequence[Member],
    layers: Sequence[Layer],
    roles: Mapping[str, Sequence[str]],
    op: Operation,
) -> Path:
    """Return an initial ramdisk: the small one that boots, then every layer, as it is."""
    key = digest(
        [
            _listed(small),
            [layer.name for layer in layers],
            [layer.digest for layer in layers],
            roles,
            cpio_digest(),
        ]
    )
    path = cache / "images" / f"ramdisk-{key[:16]}.initrd"
    if path.exists():
        return path
    if op.dry:
        raise NotMadeError("the ramdisk")
    squashed = [(layer.name, layer.squashfs) for layer in layers if layer.squashfs is not None]
    size = sum(file.stat().st_size for _, file in squashed) >> 20
    op.need_disk(cache, size + 30, "a ramdisk")
    op.step(f"putting the ramdisk together ({size} MiB)", topic="build")
    with replacing(path) as part, part.open("wb") as out:
        write_archive(out, [*small, folder("nxc/layers"), folder("nxc/roles"), *_role_files(roles)])
        for name, file in squashed:
            write_archive(out, [Member(name=f"nxc/layers/{name}.squashfs", mode=0o100444, source=file)])
    return path


def initrd(cache: Path, small: Sequence[Member]) -> Path:
    """Return an initial ramdisk that only boots, for layers that are elsewhere: the same for all roles."""
    path = cache / "images" / f"initrd-{digest([_listed(small), cpio_digest()])[:16]}.initrd"
    if not path.exists():
        with replacing(path) as part, part.open("wb") as out:
            write_archive(out, small)
    return path


def _listed(small: Sequence[Member]) -> list[list[object]]:
    return [[member.name, member.mode, digest(member.content.hex())] for member in small]


def cpio_digest() -> str:
    """Digest the code that lays a ramdisk out."""
    return digest([Path(file).read_text() for file in (cpio.__file__, __file__)])


def _role_files(roles: Mapping[str, Sequence[str]]) -> list[Member]:
    return [
        Member(
            name=f"nxc/roles/{role}", mode=0o100444, content="".join(f"{name}\n" for name in names).encode()
        )
        for role, names in sorted(roles.items())
    ]


def small_initrd(
    guest: Path, initrd: Mapping[str, str], kernel: Layer, release: str, busybox: Path, op: Operation
) -> list[Member]:
    """List what boots: init, a static busybox, the few modules that it loads."""
    wanted = [
        word
        for line in (guest / initrd["modules"]).read_text().splitlines()
        if (word := line.partition("#")[0].strip())
    ]
    modules = read_modules(kernel.tar, release, wanted)
    order = "".join(f"{name}\n" for name, _ in modules)
    folders = [folder(name) for name in ("bin", "dev", "proc", "nxc", "nxc/modules")]
    return [
        *folders,
        Member(name="init", mode=0o100755, content=(guest / initrd["init"]).read_bytes()),
        Member(name="bin/busybox", mode=0o100755, content=_busybox(busybox, op)),
        Member(name="nxc/modules/order", mode=0o100644, content=order.encode()),
        *(Member(name=f"nxc/modules/{name}", mode=0o100644, content=content) for name, content in modules),
    ]


def _busybox(deb: Path, op: Operation) -> bytes:
    data = op.run(("dpkg-deb", "--fsys-tarfile", str(deb)), timeout=120).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.isreg() and PurePosixPath(member.name).name == "busybox" and "bin/" in member.name:
                stream = tar.extractfile(member)
                assert stream is not None
                return stream.read()
    raise BuildError(f"{deb.name} holds no busybox", hint="`nxc build --relock`")


def read_modules(tar: Path, release: str, wanted: Sequence[str]) -> list[tuple[str, bytes]]:
    """Take modules out of a kernel layer, each after what it depends on; what is built in is left out."""
    top = f"./usr/lib/modules/{release}/"
    with tarfile.open(tar, "r:") as archive:
        members = {member.name: member for member in archive if member.isreg()}

        def read(name: str) -> bytes:
            stream = archive.extractfile(members[top + name])
            assert stream is not None
            return stream.read()

        depends: dict[str, list[str]] = {}
        for line in read("modules.dep").decode().splitlines():
            path, _, rest = line.partition(":")
            depends[path] = rest.split()
        built_in = {_module_name(line) for line in read("modules.builtin").decode().splitlines()}
        paths = {_module_name(path): path for path in depends}
        ordered: dict[str, None] = {}
        for name in wanted:
            key = name.replace("-", "_")
            if key in paths:
                # modules.dep lists what is needed first last
                ordered.update(dict.fromkeys([*reversed(depends[paths[key]]), paths[key]]))
            elif key not in built_in:
                raise BuildError(
                    f"the kernel {release} has no module {name}, which the ramdisk needs to boot"
                )
        return [
            (PurePosixPath(path).name.partition(".ko")[0] + ".ko", _plain(path, read(path)))
            for path in ordered
        ]


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def _plain(path: str, content: bytes) -> bytes:
    """Uncompress a module: later releases have them as .ko.xz."""
    return lzma.decompress(content) if path.endswith(".xz") else content
