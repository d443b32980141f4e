"""Bringing kernel and initrd to machines: from hand to hand, or out of a folder that all of them see."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from attrs import frozen

from nxc_core import CommandError, ConfigError, DeployError, Operation
from nxc_core.model import Artifact
from nxc_kexec import tool
from nxc_kexec.broadcast import Target, broadcast
from nxc_kexec.claims import SHARED, Station
from nxc_kexec.facts import HELD, Facts
from nxc_kexec.former import refusal
from nxc_kexec.options import KexecOptions
from nxc_kexec.steps import LOST, Media, Steps
from nxc_kexec.trouble import Trouble

STEP = "image"
_TAKE = (
    'LC_ALL=C; export LC_ALL; from=$1 to=$2; shift 2; umask 077; for f; do rm -f "$to/$f.part"; '
    'tee "$to/$f.part" <"$from/$f" | sha256sum || exit 1; '
    '[ -e "$to/$f.part" ] && mv -f "$to/$f.part" "$to/$f" || exit 1; done'
)
"""Each file is read once, on its way into memory. Nobody else may hold it open: secrets follow it there."""


@frozen(kw_only=True)
class Image:
    """The big files of some roles: the same for every node of theirs. Names are those on the machines."""

    kernel: Path
    initrd: Path

    @property
    def files(self) -> dict[str, Path]:
        """Map names on a machine to our files."""
        return {self.kernel.name: self.kernel, self.initrd.name: self.initrd}

    @property
    def sizes(self) -> dict[str, int]:
        """Map names to sizes in bytes."""
        return {name: path.stat().st_size for name, path in self.files.items()}

    def digests(self) -> dict[str, str]:
        """Map names to sha256 digests; reads the files whole."""
        found = {}
        for name, path in self.files.items():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return found


def image_of(artifact: Artifact, role: str) -> Image:
    """Return what a role's nodes are started from; raises ConfigError where the artifact has none."""
    boot = artifact.roles.get(role)
    if boot is None or boot.kernel is None or boot.initrd is None:
        raise ConfigError(
            f"what was built has no kernel and initrd for role {role}", hint="`nxc build` builds it again"
        )
    if boot.kernel.name == boot.initrd.name:
        raise ConfigError(f"kernel and initrd of role {role} are both called {boot.kernel.name}")
    return Image(kernel=boot.kernel, initrd=boot.initrd)


def media_of(artifact: Artifact, role: str, options: KexecOptions) -> Media:
    """Return what a role's nodes are loaded with."""
    image = image_of(artifact, role)
    return Media(
        kernel=image.kernel.name,
        initrd=image.initrd.name,
        sizes=image.sizes,
        arguments=tool.kernel_arguments(artifact.roles[role], options),
    )


# From hand to hand


def spread(
    image: Image,
    stations: Mapping[Station, Facts],
    digests: Mapping[str, str],
    options: KexecOptions,
    op: Operation,
) -> dict[str, Trouble]:
    """Bring an image to machines, one copy of which leaves here; answers why some did not get it."""
    targets = [
        Target(
            name=one.name,
            address=str(one.machine().facts.get("address", "")),
            folder=f"{options.folder}/{HELD}",
            run=partial(one.way.run, timeout=options.image),
            have=found.files,
        )
        for one, found in stations.items()
    ]
    sums = {path: digests[name] for name, path in image.files.items()}
    told = broadcast(tuple(image.files.values()), targets, op, timeout=options.image, sums=sums)
    return {name: _undelivered(name, cause, options) for name, cause in told.items() if cause}


def _undelivered(machine: str, cause: str, options: KexecOptions) -> Trouble:
    hint = "allow more time: -o kexec.image=SECONDS"
    if "no space left" in cause:
        hint = f"free some space in {options.folder} there"
    elif "something else" in cause:
        cause, hint = f"damaged on the way: {cause}", "look at the network and the memory of that machine"
    return Trouble(step=STEP, cause=f"the image did not get there: {cause}", hint=hint, machine=machine)


def check(name: str, told: str, digest: str, machine: str) -> None:
    """Raise Trouble where what arrived is not what was sent."""
    if told.partition(" ")[0] != digest:
        raise Trouble(
            step=STEP,
            cause=f"{name} arrived damaged: its sha256 there is {told[:12]}..., not {digest[:12]}...",
            hint="try again; look at the memory and the network of that machine",
            machine=machine,
        )


# By the shared folder


def publish(image: Image, options: KexecOptions, op: Operation) -> Path:
    """Put an image into the shared folder, in a folder of this deployment that all may read."""
    top = Path(options.shared)
    if not top.is_dir():
        raise ConfigError(
            f"there is no folder {top} on this machine",
            hint="kexec.shared is a folder that this machine and all others see under the same path",
        )
    folder = top / f"nxc-{op.name}"
    op.claim(SHARED, str(folder))
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(0o755)
        for name, path in image.files.items():
            target = folder / name
            if target.exists() and target.stat().st_size == path.stat().st_size:
                continue
            part = target.with_name(f"{name}.part")
            _copy(path, part, op)
            part.chmod(0o644)
            part.replace(target)
    except OSError as error:
        raise DeployError(
            f"the image cannot be put into {folder}: {error.strerror}",
            hint="free some space there, or leave kexec.shared out",
        ) from error
    return folder


def _copy(source: Path, target: Path, op: Operation) -> None:
    """Copy a file to where that may take long."""
    with source.open("rb") as here, target.open("wb") as there:
        while data := here.read(1 << 20):
            op.check_cancelled()
            there.write(data)


def take(
    station: Station, folder: Path, image: Image, digests: Mapping[str, str], options: KexecOptions
) -> Steps[None]:
    """Have a machine read the image out of the shared folder into its memory, once, as the user we are."""
    names = tuple(image.files)
    argv = ("sh", "-c", _TAKE, "take", str(folder), f"{options.folder}/{HELD}", *names)
    ended = yield station.way.run(argv, timeout=options.image)
    if isinstance(ended, CommandError):
        raise _failed(ended, station, options, f"it cannot read {folder}")
    told = ended.text.splitlines()
    for number, name in enumerate(names):
        check(name, told[number] if number < len(told) else "", digests[name], station.name)


def _failed(error: CommandError, station: Station, options: KexecOptions, what: str) -> Trouble:
    if error.code in (LOST, None):
        return refusal(error, STEP, station.contact, options.image)
    said = error.stderr.strip().splitlines()
    last = said[-1].strip() if said else ""
    full = "No space left" in error.stderr
    return Trouble(
        step=STEP,
        cause=(what) + (f": {last}" if last else ""),
        hint=f"free some space in {options.folder} there"
        if full
        else "is it the same folder there, open to its user?",
        last_line=last,
        machine=station.name,
    )
