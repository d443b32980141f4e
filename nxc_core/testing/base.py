"""The contract of a base, as tests."""

from __future__ import annotations

import contextlib
import hashlib
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import evolve

from nxc_core.base import Base
from nxc_core.errors import ConfigError, Interrupted
from nxc_core.hookspecs import BaseEntry
from nxc_core.model import LAYERS, RAMDISK, ROOTFS_TAR, Artifact, BuildRequest, Event, Guest, Json, Kind
from nxc_core.plugins import Plugins
from nxc_core.session import Session
from nxc_core.testing.driver import DriverContract
from nxc_core.testing.taker import Taker, TakerPlugin

FINGERPRINT_SECONDS = 1.0


class BaseContract(DriverContract):
    """Subclass it in your tests: name ``plugin`` and ``base``, write ``composition`` and ``change``."""

    __test__ = False
    base: ClassVar[str]
    options: ClassVar[Mapping[str, Json]] = {}
    kinds: ClassVar[Sequence[Kind]] = ()
    """Kinds to build; by default all that the base produces."""
    guest: ClassVar[Guest] = Guest()
    own_caches: ClassVar[bool] = False
    """Whether building from an empty cache is cheap enough to do it again and again."""

    @pytest.fixture
    def composition(self, tmp_path: Path) -> Path:
        """Return a composition file with two roles or more, written below ``tmp_path``. To be overridden."""
        raise NotImplementedError("override the fixture `composition`")

    def change(self, composition: Path) -> None:
        """Edit the composition so that another system comes out. To be overridden."""
        raise NotImplementedError("override `change`")

    def spoil(self, composition: Path) -> None:
        """Edit the composition so that it cannot be read."""
        composition.write_text("{ [ (\n")

    def another_guest(self) -> Guest:
        """Return a guest that asks for another system than ``guest`` does."""
        return evolve(self.guest, console="ttyS7", kernel_modules=(*self.guest.kernel_modules, "dummy"))

    def honours(self, artifact: Artifact, guest: Guest) -> None:
        """Fail unless the artifact is what ``guest`` asks for; by default nothing is looked at."""

    @pytest.fixture
    def session(self, tmp_path: Path) -> Session:
        """Return a session on a project of its own."""
        (tmp_path / "project").mkdir()
        return self.open(tmp_path / "project")

    def open(self, project: Path) -> Session:
        """Open a project with a flavour that takes any kind."""
        return Session.open(project, plugins=Plugins.discover(extra=[TakerPlugin()]))

    def entry(self, session: Session) -> BaseEntry:
        """Return the base's entry."""
        if self.base not in session.plugins.bases:
            broken = "; ".join(f"{b.name}: {b.reason}" for b in session.plugins.broken)
            pytest.fail(
                f"base {self.base} is not discovered: look at its entry point ({broken or 'none is broken'})"
            )
        return session.plugins.bases[self.base]

    def driver(self, session: Session) -> Base[Any]:
        """Return the base with its options."""
        return session.plugins.base(self.base, self.options)

    def make(self, session: Session, composition: Path, kind: Kind, guest: Guest | None = None) -> Artifact:
        """Read and build."""
        base, folder = self.driver(session), session.workspace.project
        op = session.operation(folder, "contract")
        request = BuildRequest(composition=base.read(composition, op), kind=kind, guest=guest or self.guest)
        return session.plugins.build(base, request, op)

    def fingerprint(self, session: Session, composition: Path, kind: Kind, guest: Guest | None = None) -> str:
        """Ask for the fingerprint."""
        op = session.operation(session.workspace.project, "contract")
        return self.driver(session).fingerprint(composition, kind, guest or self.guest, op)

    def wanted(self, session: Session) -> list[Kind]:
        """List the kinds to build."""
        return sorted(self.kinds or self.driver(session).produces)

    # The tests

    def test_is_discovered_under_its_name(self, session: Session) -> None:
        """The entry has a summary, and its target is a Base of the same name that produces something."""
        entry, driver = self.entry(session), self.driver(session)
        assert entry.summary, f"{entry.name} has no summary"
        assert driver.name == entry.name, f"the entry says {entry.name}, the driver {driver.name}"
        assert driver.produces, f"{driver.name} produces no kind"

    def test_reads_a_composition(self, session: Session, composition: Path) -> None:
        """Roles and source are told; every role has nodes or may have them."""
        found = self.driver(session).read(
            composition, session.operation(session.workspace.project, "contract")
        )
        assert found.base == self.base, f"the composition says base {found.base}"
        assert found.source == composition, f"the composition says source {found.source}"
        assert found.roles, "the composition has no roles"

    def test_a_spoilt_composition_is_refused(self, session: Session, composition: Path) -> None:
        """The error names the file."""
        self.spoil(composition)
        with pytest.raises(ConfigError) as told:
            self.driver(session).read(composition, session.operation(session.workspace.project, "contract"))
        assert composition.name in told.value.message, f"the error does not name the file: {told.value}"

    def test_builds_what_it_says(self, session: Session, composition: Path) -> None:
        """Each kind has its keys, every file exists, every role can be started."""
        for kind in self.wanted(session):
            artifact = self.make(session, composition, kind)
            assert artifact.kind == kind, f"asked for {kind}, built {artifact.kind}"
            read = self.driver(session).read(
                composition, session.operation(session.workspace.project, "contract")
            )
            roles = {role.name for role in read.roles}
            assert set(artifact.roles) == roles, f"{kind}: roles are {set(artifact.roles)}, not {roles}"
            assert artifact.paths(), f"{kind}: there are no files"
            missing = [path for path in artifact.paths() if not (path.is_absolute() and path.exists())]
            assert not missing, f"{kind}: these files do not exist: {missing}"
            kept = set(self.driver(session).in_use(artifact))
            assert set(artifact.paths()) <= kept, f"{kind}: in_use() leaves out files of the artifact"
            _keys(artifact)
            self.honours(artifact, self.guest)

    def test_same_inputs_same_result(
        self, session: Session, composition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another project, and where it is cheap another cache, give the same files and fingerprint."""
        (tmp_path / "second").mkdir()
        for kind in self.wanted(session):
            first = digests(self.make(session, composition, kind))
            print_ = self.fingerprint(session, composition, kind)
            if self.own_caches:
                monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{kind}"))
            other = self.open(tmp_path / "second")
            again = digests(self.make(other, composition, kind))
            assert first == again, f"{kind}: two builds differ: {_differing(first, again)}"
            assert self.fingerprint(other, composition, kind) == print_, f"{kind}: the fingerprint differs"

    def test_a_change_is_noticed(self, session: Session, composition: Path) -> None:
        """Another composition has another fingerprint and gives another system."""
        kind = self.wanted(session)[0]
        before = self.fingerprint(session, composition, kind), digests(self.make(session, composition, kind))
        self.change(composition)
        after = self.fingerprint(session, composition, kind), digests(self.make(session, composition, kind))
        assert before[0] != after[0], "a changed composition has the same fingerprint: it would not be built"
        assert before[1] != after[1], "a changed composition gives the same files"

    def test_the_guest_counts(self, session: Session, composition: Path) -> None:
        """What a flavour asks of the guest is part of the fingerprint, and honoured."""
        for kind in self.wanted(session):
            other = self.another_guest()
            one, two = (self.fingerprint(session, composition, kind, guest) for guest in (self.guest, other))
            assert one != two, f"{kind}: another guest has the same fingerprint: it would not be built"
            self.honours(self.make(session, composition, kind, other), other)

    def test_the_fingerprint_is_quick(self, session: Session, composition: Path) -> None:
        """It is asked before every start."""
        kind = self.wanted(session)[0]
        self.make(session, composition, kind)
        took = []
        for _ in range(3):
            start = time.monotonic()
            self.fingerprint(session, composition, kind)
            took.append(time.monotonic() - start)
        assert min(took) < FINGERPRINT_SECONDS, f"a fingerprint takes {min(took):.2f} s"

    def test_nothing_changed_builds_nothing(
        self, session: Session, composition: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second build of the same is answered from its record; the fingerprint does not drift."""
        counter = TakerPlugin()
        monkeypatch.setattr(Taker, "asks", self.guest)
        session = Session.open(session.workspace.project, plugins=Plugins.discover(extra=[counter]))
        options = {"contract-taker": {"kind": self.wanted(session)[0]}, self.base: self.options}
        builds = [
            session.build(composition, flavour="contract-taker", base=self.base, options=options)
            for _ in range(3)
        ]
        assert counter.builds == 1, f"with nothing changed, {counter.builds - 1} of 2 builds were done again"
        assert len({build.id for build in builds}) == 1, "the build's id changed"

    def test_an_interrupted_build_is_gone_on_with(self, session: Session, composition: Path) -> None:
        """Interrupted at any of its steps and built again, the result is the same."""
        kind = self.wanted(session)[0]
        self.change(composition)  # so that it is not in a shared cache
        hasty = self.open(session.workspace.project)

        def interrupt(event: Event) -> None:
            if event.topic == "step":
                hasty.interrupt()

        hasty.sinks.append(interrupt)
        with contextlib.suppress(Interrupted):  # it may be too quick for it
            self.make(hasty, composition, kind)
        resumed = digests(self.make(session, composition, kind))
        assert resumed == digests(self.make(session, composition, kind))
        assert all(path.exists() for path in self.make(session, composition, kind).paths())


def _keys(artifact: Artifact) -> None:
    """Look for what a kind's name promises."""
    for role, boot in artifact.roles.items():
        if artifact.kind == RAMDISK:
            assert boot.kernel or "kernel" in artifact.files, f"ramdisk: role {role} has no kernel"
            assert boot.initrd or "initrd" in artifact.files, f"ramdisk: role {role} has no initrd"
        if artifact.kind == ROOTFS_TAR:
            assert f"{role}.tar" in artifact.files, f"rootfs-tar: there is no {role}.tar"
        if artifact.kind == LAYERS:
            assert boot.layers, f"layers: role {role} has none"
            unknown = set(boot.layers) - set(artifact.layers)
            assert not unknown, f"layers: role {role} names unknown layers {unknown}"
    for layer in artifact.layers.values():
        found = _digest(layer.tar)
        assert layer.digest == found, f"layer {layer.name}: its digest is {layer.digest}, its tar's {found}"


def digests(artifact: Artifact) -> dict[str, str]:
    """Digest every file and folder of an artifact by what it is for, wherever it is."""
    found = {name: _digest(path) for name, path in artifact.files.items()}
    for role, boot in artifact.roles.items():
        for name, path in (("kernel", boot.kernel), ("initrd", boot.initrd)):
            if path is not None:
                found[f"{role} {name}"] = _digest(path)
    for layer in artifact.layers.values():
        found[f"layer {layer.name}"] = _digest(layer.tar)
        if layer.squashfs is not None:
            found[f"layer {layer.name} squashfs"] = _digest(layer.squashfs)
    return found


def _digest(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    seen = hashlib.sha256()
    for entry in sorted(path.rglob("*")):
        mode = entry.lstat().st_mode
        seen.update(f"{entry.relative_to(path)}\0{stat.S_IMODE(mode):o}\0".encode())
        if stat.S_ISREG(mode):
            seen.update(entry.read_bytes())
        elif stat.S_ISLNK(mode):
            seen.update(str(entry.readlink()).encode())
    return seen.hexdigest()


def _differing(one: Mapping[str, str], two: Mapping[str, str]) -> str:
    return ", ".join(sorted(key for key in {*one, *two} if one.get(key) != two.get(key)))
