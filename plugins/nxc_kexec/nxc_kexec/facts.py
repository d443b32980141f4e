"""What a machine's former system tells of itself, in one answer to one script, and whether that will do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from nxc_kexec.machines import Contact
from nxc_kexec.trouble import Trouble

STEP = "facts"
SCRIPT = Path(__file__).with_name("looking.sh").read_bytes()
HELD = "nxc-kexec"
"""The folder on a machine that says which deployment has it; being renamed to it is what holds a machine."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LEAST = 256 << 20
"""Memory that a node needs beside twice its image."""
MARGIN = 64 << 20
"""Memory to be left over while the former system loads the image."""


@frozen(kw_only=True)
class Facts:
    """A machine as its former system shows it. Memory and space in bytes."""

    boot: str
    arch: str
    kernel: str
    name: str = ""
    memory_total: int = 0
    memory_available: int = 0
    kexec: str = ""
    load_disabled: bool = False
    lockdown: str = "none"
    user: int = 0
    sudo: bool = False
    sudo_refusal: str = ""
    perl: str = ""
    python: str = ""
    space_kind: str = ""
    space: int = 0
    holder: str | None = None
    """The deployment that has the machine; empty where it does not say its name."""
    owner: str = ""
    """Whose the holder's folder is, where it is not ours."""
    files: Mapping[str, str] = field(factory=dict)
    """Files of the image that are there by now, with their digests."""
    server: str = ""
    """The address at which ssh reached it."""
    client: str = ""
    nameservers: tuple[str, ...] = ()
    cards: tuple[str, ...] = ()
    """Names of network cards that are hardware."""
    addresses: Sequence[Mapping[str, Any]] = ()
    routes: Sequence[Mapping[str, Any]] = ()
    routes6: Sequence[Mapping[str, Any]] = ()

    @property
    def root(self) -> tuple[str, ...]:
        """Words before a command that needs root."""
        return ("sudo", "-n") if self.user else ()


def question(folder: str, sudo: bool, files: Mapping[str, int]) -> tuple[str, ...]:
    """Return the command that reads ``SCRIPT`` from standard input; ``files`` gives names and sizes."""
    asked = (f"{name}:{size}" for name, size in files.items())
    return ("sh", "-s", folder, f"{folder}/{HELD}", "yes" if sudo else "no", *asked)


def read_facts(told: str, machine: str) -> Facts:
    """Read the script's answer; raises Trouble where it is none."""
    found: dict[str, list[str]] = {}
    for line in f"\n{told}".rpartition("\nbegin yes\n")[2].splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value.strip())

    if "end" not in found or not found.get("boot"):
        last = told.strip().splitlines()[-1:] or [""]
        raise Trouble(
            step=STEP,
            cause="its answer makes no sense",
            hint="does its login shell print something, or is /proc not there?",
            last_line=last[0][:200],
            machine=machine,
        )
    return _facts_of(found)


def _facts_of(found: Mapping[str, Sequence[str]]) -> Facts:
    def one(key: str) -> str:
        return found.get(key, [""])[0]

    arch, _, kernel = one("system").partition(" ")
    kind, _, blocks = one("space").partition(" ")
    ssh = one("ssh").split()
    return Facts(
        boot=one("boot"),
        arch=arch,
        kernel=kernel,
        name=one("name"),
        memory_total=_number(one("memory_total")) << 10,
        memory_available=_number(one("memory_available")) << 10,
        kexec=one("kexec"),
        load_disabled=one("load_disabled") not in ("", "0"),
        lockdown=_chosen(one("lockdown")),
        user=_number(one("user")),
        sudo=one("sudo") == "yes",
        sudo_refusal=one("sudo").removeprefix("no").strip(),
        perl=one("perl"),
        python=one("python"),
        space_kind=kind,
        space=_product(blocks),
        holder=found["holder"][0] if "holder" in found else None,
        owner=one("owner"),
        files=dict(_pair(value) for value in found.get("file", ())),
        server=ssh[2] if len(ssh) == 4 else "",
        client=ssh[0] if len(ssh) == 4 else "",
        nameservers=tuple(found.get("nameserver", ())),
        cards=tuple(found.get("card", ())),
        addresses=_list(one("addresses")),
        routes=_list(one("routes")),
        routes6=_list(one("routes6")),
    )


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _product(text: str) -> int:
    left, _, right = text.partition(" ")
    return _number(left) * _number(right)


def _pair(text: str) -> tuple[str, str]:
    left, _, right = text.partition(" ")
    return left, right


def _chosen(text: str) -> str:
    """Read ``[none] integrity confidentiality``."""
    return text.partition("[")[2].partition("]")[0] or "none"


def _list(text: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(text or "[]")
    except ValueError:
        return []
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


# Will it do?


def judge(facts: Facts, contact: Contact, *, deployment: str, folder: str, arch: str, image: int) -> None:
    """Raise Trouble for the first reason why the machine cannot become a node of ours."""
    for cause, hint in (
        *_of_place(facts),
        *_of_holder(facts, deployment, folder),
        *_of_kernel(facts, arch),
        *_of_rights(facts, contact),
        *_of_memory(facts, folder, image),
        *_of_network(facts),
    ):
        raise Trouble(step=STEP, cause=cause, hint=hint, machine=contact.name)


Reasons = list[tuple[str, str]]


def _of_place(facts: Facts) -> Reasons:
    if facts.boot != BOOT_ID.read_text().strip():
        return []
    return [("it is the machine that nxc runs on, which would end with its system", "leave it out")]


def _of_holder(facts: Facts, deployment: str, folder: str) -> Reasons:
    if facts.holder is None or (facts.holder == deployment and not facts.owner):
        return []
    who = facts.holder or "another deployment"
    whose = f" of {facts.owner}" if facts.owner else ""
    return [
        (
            f"it is in use by {who}{whose}",
            f"`nxc down {facts.holder}` gives it back; if nobody has it, remove {folder}/{HELD} there",
        )
    ]


def _of_kernel(facts: Facts, arch: str) -> Reasons:
    found: Reasons = []
    if facts.arch != arch:
        found.append(
            (
                f"it is {facts.arch or 'of an unknown architecture'}, the image is for {arch}",
                f"use {arch} machines",
            )
        )
    if not facts.kexec:
        found.append(("kexec is not installed there", "install the package kexec-tools there"))
    if facts.load_disabled:
        found.append(
            (
                "its kernel forbids kexec until it reboots (kernel.kexec_load_disabled=1)",
                "reboot it without that setting",
            )
        )
    if facts.lockdown != "none":
        found.append(
            (
                f"its kernel forbids kexec (lockdown: {facts.lockdown})",
                "switch Secure Boot off, or lockdown= in its boot loader",
            )
        )
    return found


def _of_rights(facts: Facts, contact: Contact) -> Reasons:
    if facts.user == 0 or facts.sudo:
        return []
    who = contact.user or "the user"
    if not contact.sudo:
        return [(f"{who} is not root, and sudo=no is given", "log in as root@HOST, or leave out sudo=no")]
    said = f": {facts.sudo_refusal}" if facts.sudo_refusal else ""
    return [
        (
            f"{who} may not become root without a password{said}",
            "allow `sudo -n` there (NOPASSWD), or log in as root@HOST",
        )
    ]


def _of_memory(facts: Facts, folder: str, image: int) -> Reasons:
    found: Reasons = []
    there = image if facts.files else 0
    wanted = 3 * image + MARGIN - there
    if facts.memory_total < 2 * image + LEAST:
        found.append(
            (
                f"it has {_mib(facts.memory_total)} of memory, a node needs {_mib(2 * image + LEAST)}",
                "use a larger machine",
            )
        )
    elif facts.memory_available < wanted:
        found.append(
            (
                f"{_mib(facts.memory_available)} of its memory are free, loading takes {_mib(wanted)}",
                "end what runs there",
            )
        )
    if facts.space_kind != "tmpfs":
        what = f"on {facts.space_kind}, not in memory" if facts.space_kind else "not there"
        found.append((f"its {folder} is {what}", "name a tmpfs: -o kexec.folder=PATH"))
    elif facts.space < image + (1 << 20) - there:
        found.append(
            (
                f"its {folder} has {_mib(facts.space)} left, the image needs {_mib(image)}",
                "free some, or name another tmpfs: -o kexec.folder=PATH",
            )
        )
    return found


def _of_network(facts: Facts) -> Reasons:
    if facts.addresses:
        return []
    return [
        (
            "its network cards are not known: `ip -j address` says nothing there",
            "install iproute2 (4.18 or later) there: without it a node would have no address",
        )
    ]


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
