"""A plugin for tests of the core: nodes are folders, systems are files, nothing takes time unless asked."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import field, frozen

from nxc_core import Base, BaseEntry, ConfigError, Flavour, FlavourEntry, Operation, PreflightError, hookimpl
from nxc_core.model import (
    Artifact,
    BuildRequest,
    Composition,
    ExecEndpoint,
    Finding,
    Guest,
    Kind,
    Leftover,
    Node,
    NodeState,
    Observation,
    Outcome,
    Plan,
    Resource,
    Role,
    RoleBoot,
    SshEndpoint,
)

NXC_API = 1
PAPER = Kind("paper")
PARCEL = Kind("parcel")


@hookimpl
def nxc_flavours() -> Iterator[FlavourEntry]:
    yield FlavourEntry(name="folder", summary="nodes that are folders", target=f"{__name__}:FolderFlavour")
    yield FlavourEntry(name="parcel", summary="folders to carry away", target=f"{__name__}:ParcelFlavour")


@hookimpl
def nxc_bases() -> Iterator[BaseEntry]:
    yield BaseEntry(name="paper", summary="systems that are files", target=f"{__name__}:PaperBase")


@frozen(kw_only=True)
class FolderOptions:
    slow: float = field(default=0.0, metadata={"help": "seconds that booting takes"})
    fails: str = field(default="", metadata={"help": "node that does not come up"})
    trouble: str = field(default="", metadata={"help": "bug, full, group or keep: what goes wrong"})
    ssh: bool = field(default=False, metadata={"help": "claim to be reached by ssh"})
    missing: bool = field(default=False, metadata={"help": "let check find something"})
    lean: bool = field(default=False, metadata={"help": "leave things out"})
    most: int = field(default=9, metadata={"help": "nodes that a role may have"})
    taken: str = field(default="", metadata={"help": "subnets that are taken"})


class FolderFlavour(Flavour[FolderOptions]):
    """A node is a folder below the deployment's, made at boot, removed at release."""

    name = "folder"
    accepts = (PAPER,)
    options_type = FolderOptions
    gives = frozenset({"mount"})
    report = ("cat", "ready", "/proc/sys/kernel/random/boot_id")
    patience = 5.0

    @property
    def guest(self) -> Guest:
        return Guest(ssh=False, lean=self.options.lean)

    def check(self, op: Operation) -> Sequence[Finding]:
        missing = self.options.missing or (op.cache / "folder-is-broken").exists()
        return (Finding(ok=not missing, subject="folders", detail="asked", hint="remove folder-is-broken"),)

    def vet(self, roles: Sequence[Role], op: Operation) -> None:
        for role in roles:
            if len(role.names()) > self.options.most:
                raise ConfigError(f"role {role.name}: {len(role.names())} folders are too many")

    def taken(self, op: Operation) -> Collection[str]:
        return self.options.taken.split()

    def deploy(self, plan: Plan, op: Operation) -> None:
        match self.options.trouble:
            case "bug":
                raise RuntimeError("a bug\nin two lines")
            case "full":
                raise OSError(errno.ENOSPC, "No space left on device", "somewhere")
            case "group":
                raise ExceptionGroup("several failed", [ConfigError("first"), ConfigError("second")])
        for spec in plan.nodes:
            folder = op.dir / "fake" / spec.name
            op.claim("fake.folder", str(folder))
            folder.mkdir(parents=True, exist_ok=True)
            if spec.name == self.options.fails:
                op.outcome(
                    Outcome(
                        node=spec.name, state=NodeState.FAILED, cause="it burnt", last_line="\x1b[31msmoke"
                    )
                )
                continue
            op.step("waiting for the fake", node=spec.name)
            self._take_time(op)
            (folder / "ready").write_text(plan.instances[spec.name] + "\n")
            (op.dir / "log" / f"{spec.name}.log").write_text("\x1b[2Jboot\r\nlogin: \x07\n")
            op.node(Node(name=spec.name, role=spec.role, endpoint=self._endpoint(plan, spec.name, folder)))
            if self.options.ssh:
                op.outcome(Outcome(node=spec.name, state=NodeState.READY))

    def _take_time(self, op: Operation) -> None:
        """Be slow, until a test has seen enough."""
        end = time.monotonic() + self.options.slow
        op.check_cancelled()
        while time.monotonic() < end and not (op.cache / "hurry").exists():
            op.cancel.wait(0.02)
            op.check_cancelled()

    def _endpoint(self, plan: Plan, name: str, folder: Path) -> ExecEndpoint | SshEndpoint:
        if not self.options.ssh:
            return ExecEndpoint(prefix=("env", "-C", str(folder)))
        return SshEndpoint(
            host="127.0.0.1",
            port=1,
            user="root",
            identity=plan.key,
            known_hosts=plan.known_hosts,
            alias=f"{name}.x",
        )

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        if self.options.trouble == "keep":
            return ()
        for resource in resources:
            shutil.rmtree(resource.id, ignore_errors=True)
        return resources

    def observe(self, node: Node, op: Operation) -> Observation:
        folder = op.dir / "fake" / node.name
        return Observation(alive=folder.exists(), detail="" if folder.exists() else "its folder is gone")


class ParcelFlavour(FolderFlavour):
    """Can carry its nodes away, and sweep what was dropped."""

    name = "parcel"
    exports = (PARCEL,)
    lacks: ClassVar[dict[str, str]] = {"kernel": "a folder has none"}

    def export(self, plan: Plan, folder: Path, op: Operation) -> None:
        op.claim("fake.folder", str(op.dir / "unpacked"))
        (op.dir / "unpacked").mkdir()
        (op.scratch("packing") / "tape").touch()
        (folder / "sheets").mkdir()
        for spec in plan.nodes:
            shutil.copy(plan.artifact.files[spec.role], folder / "sheets" / spec.name)
            op.step("packing", node=spec.name)
            if op.cancel.wait(self.options.slow):
                op.check_cancelled()
        if self.options.trouble == "full":
            raise OSError(errno.ENOSPC, "No space left on device", "somewhere")
        (folder / "README").write_text(f"{plan.artifact.kind}: {', '.join(plan.instances)}\n")

    def leftovers(self, op: Operation) -> Sequence[Leftover]:
        if self.options.trouble == "bug":
            raise RuntimeError("the engine speaks in tongues")
        if self.options.trouble == "full":
            raise PreflightError("the engine is down")
        return [
            Leftover(what="parcel", id=path.name, size=path.stat().st_size)
            for path in sorted((op.cache / "parcels").glob("*"))
        ]

    def sweep(self, leftovers: Sequence[Leftover], op: Operation) -> Sequence[Leftover]:
        gone = [found for found in leftovers if found.id != "stuck"]
        for found in gone:
            (op.cache / "parcels" / found.id).unlink(missing_ok=True)
        return gone


@frozen(kw_only=True)
class PaperOptions:
    mirror: str | None = field(default=None, metadata={"help": "where paper comes from"})
    relock: bool = field(default=False, metadata={"help": "choose paper anew"})


class PaperBase(Base[PaperOptions]):
    """A composition is JSON: {"roles": {name: count}, "test": script, "warn": text}."""

    name = "paper"
    produces = frozenset({PAPER, PARCEL})
    options_type = PaperOptions

    def fingerprint(self, source: Path, kind: Kind, guest: Guest, op: Operation) -> str:
        return hashlib.sha256(source.read_bytes() + repr((kind, guest, self.options)).encode()).hexdigest()

    def read(self, source: Path, op: Operation) -> Composition:
        document = json.loads(source.read_text())
        return Composition(
            name=source.parent.name.lower().replace("_", "-"),
            base=self.name,
            source=source,
            roles=tuple(Role(name=name, count=count) for name, count in document["roles"].items()),
            test_script=document.get("test"),
            warnings=tuple(document.get("warn", ())),
        )

    def build(self, request: BuildRequest, op: Operation) -> Artifact:
        folder = op.cache / "paper"
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for role in request.composition.roles:
            op.step(f"writing {role.name}", jobs=request.jobs, offline=op.offline, mirror=self.options.mirror)
            digest = hashlib.sha256(f"{role.name}{self.options.mirror}".encode()).hexdigest()[:8]
            files[role.name] = folder / f"{role.name}-{digest}"
            files[role.name].write_text(role.name * 1000)
        return Artifact(kind=request.kind, files=files, roles={name: RoleBoot() for name in files})

    def in_use(self, artifact: Artifact) -> Sequence[Path]:
        return (*artifact.paths(), *(path.with_name(f"source-of-{path.name}") for path in artifact.paths()))

    def caches(self, op: Operation) -> Mapping[str, Path]:
        return {"sheets": op.cache / "paper"}
