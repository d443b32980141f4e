"""Whether KVM really runs guests here. Opening /dev/kvm proves nothing: only a kernel that boots does."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from nxc_core import CommandError, Interrupted, NxcError, Operation, PreflightError, process
from nxc_vm import qemu

Name = Literal["kvm", "tcg"]

DEVICE = Path("/dev/kvm")
PATIENCE = 5.0
"""Seconds in which a kernel that KVM runs has said its version; emulated it takes two."""
AGAIN = 3600.0
"""Seconds after which KVM that was too slow to answer is tried again: the machine may only have been busy."""
PROOF = "Linux version"


@frozen(kw_only=True)
class Verdict:
    """Which accelerator is used, and why; ``slow`` where all that is known is that time ran out."""

    name: Name
    reason: str
    slow: bool = field(default=False, eq=False)


def choose(wanted: str, kernel: Path, op: Operation, *, device: Path = DEVICE) -> Verdict:
    """Return the accelerator to use for a kernel, probing KVM at most once per kernel, QEMU and host boot.

    Where it was only too slow, it is tried again after an hour.
    Raises PreflightError where kvm is asked for and does not work.
    """
    if wanted == "tcg":
        return Verdict(name="tcg", reason="asked for")
    verdict = closed(device) or remembered(kernel, op, device) or _probe_once(kernel, op, device)
    if wanted == "kvm" and verdict.name != "kvm":
        raise refusal(verdict)
    return verdict


def refusal(verdict: Verdict) -> PreflightError:
    """Say that KVM was asked for, and why it cannot be had."""
    return PreflightError(
        f"KVM cannot be used: {verdict.reason}",
        hint="leave the option accelerator at auto, or set it to tcg (slower, works everywhere)",
    )


def closed(device: Path = DEVICE) -> Verdict | None:
    """Return the verdict where the device itself settles it: it is absent, or not ours to open."""
    if not device.exists():
        return Verdict(name="tcg", reason=f"there is no {device}")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        return Verdict(name="tcg", reason=f"{device} may not be opened by this user (group kvm may)")
    except OSError as error:
        return Verdict(name="tcg", reason=f"{device} cannot be opened: {error.strerror}")
    return None


def remembered(kernel: Path, op: Operation, device: Path = DEVICE) -> Verdict | None:
    """Return what an earlier probe of this kernel found, unless that was only that time ran out, long ago."""
    memory = _memory(kernel, op, device)
    try:
        told = json.loads(memory.read_text(encoding="utf-8"))
        if told.get("slow") and time.time() > memory.stat().st_mtime + AGAIN:
            return None
        return Verdict(name="kvm" if told["name"] == "kvm" else "tcg", reason=str(told["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def last_verdict(op: Operation) -> Verdict | None:
    """Return the newest verdict of any kernel since this machine was booted."""
    found: list[tuple[float, Path]] = []
    for path in (op.cache / "vm").glob(f"kvm-{_host_boot()}-*.json"):
        found.append((path.stat().st_mtime, path))
    for _, path in sorted(found, reverse=True):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return Verdict(name="kvm" if told["name"] == "kvm" else "tcg", reason=str(told["reason"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _probe_once(kernel: Path, op: Operation, device: Path) -> Verdict:
    op.step("trying whether KVM runs guests here")
    verdict = probe(kernel, op)
    memory = _memory(kernel, op, device)
    memory.parent.mkdir(parents=True, exist_ok=True)
    fresh = memory.with_name(f"{memory.name}.{os.getpid()}.{threading.get_ident()}")
    told = {"name": verdict.name, "reason": verdict.reason, "slow": verdict.slow}
    fresh.write_text(json.dumps(told) + "\n", encoding="utf-8")
    fresh.replace(memory)
    return verdict


def probe(kernel: Path, op: Operation) -> Verdict:
    """Start the kernel with KVM and wait for its first line; never longer than ``PATIENCE`` and a little."""
    proven = threading.Event()

    def look(line: str) -> None:
        if PROOF in line:
            proven.set()

    try:
        ended = process.run(
            _probe_command(kernel), check=False, timeout=PATIENCE, cancelled=proven, on_line=look
        )
    except Interrupted:
        return Verdict(name="kvm", reason="it runs this kernel")
    except CommandError:
        op.check_cancelled()
        why = f"KVM opens, but ran no kernel within {PATIENCE:g} s"
        return Verdict(name="tcg", reason=why, slow=True)
    except NxcError as error:
        return Verdict(name="tcg", reason=error.message)
    if proven.is_set():
        return Verdict(name="kvm", reason="it runs this kernel")
    said = qemu.bare((ended.error_text.strip().splitlines() or ["without a word"])[0])
    return Verdict(name="tcg", reason=f"KVM opens, but QEMU ended at once ({said})")


def _probe_command(kernel: Path) -> tuple[str, ...]:
    return (
        qemu.PROGRAM,
        *("-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 earlyprintk=serial panic=-1"),
    )


def _memory(kernel: Path, op: Operation, device: Path) -> Path:
    digest = hashlib.sha256()
    for part in _facts(kernel, device):
        digest.update(part.encode() + b"\0")
    return op.cache / "vm" / f"kvm-{_host_boot()}-{digest.hexdigest()[:16]}.json"


def _facts(kernel: Path, device: Path) -> Iterator[str]:
    for path in (kernel, Path(process.find_program(qemu.PROGRAM, package=qemu.PACKAGE)), device):
        found = path.stat()
        yield f"{path} {found.st_size} {found.st_mtime_ns if path != device else found.st_rdev}"
    yield f"{platform.release()} {os.geteuid()}"


def _host_boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return "unknown"


def find_kernel() -> Path | None:
    """Return a kernel of this machine that can be read, to probe with before anything is built."""
    candidates = [Path(f"/boot/vmlinuz-{platform.release()}"), *sorted(Path("/boot").glob("vmlinuz-*"))]
    return next((path for path in candidates if os.access(path, os.R_OK)), None)
