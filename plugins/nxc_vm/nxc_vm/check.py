"""What ``nxc doctor`` says of virtual machines on this machine."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

from nxc_core import CommandError, NxcError, Operation, process
from nxc_core.flavour import require
from nxc_core.model import Finding
from nxc_vm import accelerator, qemu
from nxc_vm.options import MachineOptions


def check_host(options: MachineOptions, op: Operation) -> Sequence[Finding]:
    """Say whether QEMU is here, new enough, and what it will run on. Never raises."""
    return [_check_system(), *_check_qemu(), _check_accelerator(options, op)]


def _check_system() -> Finding:
    machine = platform.machine()
    return Finding(
        ok=machine == "x86_64",
        subject="processor",
        detail=machine,
        hint="" if machine == "x86_64" else "only x86_64 machines can be emulated so far; use one",
    )


def _check_qemu() -> Iterator[Finding]:
    install = f"install the Debian package {qemu.PACKAGE}"
    try:
        program = process.find_program(qemu.PROGRAM, package=qemu.PACKAGE)
        told = process.run((program, "--version"), timeout=60).text
    except CommandError as error:
        yield Finding(ok=False, subject=qemu.PROGRAM, detail=error.message, hint=f"re{install}")
        return
    except NxcError as error:
        yield Finding(ok=False, subject=qemu.PROGRAM, detail=error.message, hint=error.hint or install)
        return
    version = qemu.read_version(told)
    new_enough = version is not None and version >= qemu.OLDEST
    spelled = ".".join(map(str, version)) if version else "of unknown version"
    oldest = ".".join(map(str, qemu.OLDEST))
    yield Finding(
        ok=new_enough,
        subject=qemu.PROGRAM,
        detail=spelled,
        hint="" if new_enough else f"nxc needs QEMU {oldest} or later: upgrade {qemu.PACKAGE}",
    )


def require_host(options: MachineOptions) -> None:
    """Raise PreflightError where no machine can start here: QEMU, and KVM where nothing else will do."""
    require([_check_system(), *_check_qemu()])
    if options.accelerator == "kvm":
        closed = accelerator.closed(accelerator.DEVICE)
        if closed is not None:
            raise accelerator.refusal(closed)


def _check_accelerator(options: MachineOptions, op: Operation) -> Finding:
    if options.accelerator == "tcg":
        verdict: accelerator.Verdict | None = accelerator.Verdict(name="tcg", reason="asked for")
    else:
        verdict = accelerator.closed(accelerator.DEVICE) or accelerator.last_verdict(op)
    if verdict is None:
        kernel = accelerator.find_kernel()
        verdict = accelerator.probe(kernel, op) if kernel else None
    if verdict is None:
        return Finding(
            ok=True, subject="accelerator", detail="KVM opens; the first start tries whether it works"
        )
    stands_in_the_way = options.accelerator == "kvm" and verdict.name != "kvm"
    slow = verdict.name == "tcg" and options.accelerator == "auto"
    return Finding(
        ok=not stands_in_the_way and not slow,
        subject="accelerator",
        detail=f"{verdict.name}: {verdict.reason}",
        hint="machines are emulated: they work, some five times slower" if slow else "",
        advice=slow,
    )
