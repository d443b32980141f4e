"""What a flavour may offer beside booting and releasing; what it does not offer is not tested."""

from __future__ import annotations

import ipaddress
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nxc_core import paths
from nxc_core.flavour import Console, Exporting, Links, Power, Rebooting
from nxc_core.model import NodeState
from nxc_core.running import Running
from nxc_core.session import Session
from nxc_core.testing.hooks import FlavourHooks, proof
from nxc_core.testing.secrecy import LARGEST, exposed_files
from nxc_core.testing.workbench import Workbench


class OffersContract(FlavourHooks):
    """Tests of what is optional."""

    __test__ = False

    def test_an_ordinary_composition_is_let_pass(self, session: Workbench, composition: Path) -> None:
        """``vet`` refuses only what cannot be started, and changes nothing."""
        op = session.operation(session.workspace.root, "contract")
        read = session.plugins.base(self.base, self.base_options).read(composition, op)
        try:
            self.driver(session).vet(read.roles, op)
        except Exception as error:  # noqa: BLE001 - that it raises at all is the fault
            pytest.fail(f"vet() of a composition that can be started raised {type(error).__name__}: {error}")
        assert not op.claimed(), f"vet() claimed {op.claimed()}"

    def test_taken_subnets_can_be_read(self, session: Workbench) -> None:
        """``taken`` answers subnets."""
        for found in self.driver(session).taken(session.operation(session.workspace.root, "contract")):
            try:
                ipaddress.ip_network(found, strict=False)
            except ValueError as error:
                pytest.fail(f"taken() answered {found!r}, which is no subnet: {error}")

    def test_power(self, session: Workbench, composition: Path) -> None:
        """A node that is cut off is seen to be gone, and boots again as the same instance."""
        flavour = self._offers(session, Power)
        with self.up(session, composition) as running:
            name = next(iter(running))
            former = running.outcome(name).boot_id
            flavour.crash(running.node(name), running.op)
            seen = flavour.observe(running.node(name), running.op)
            assert not seen.alive and seen.detail, f"{name} was crashed, but observe() says {seen}"
            flavour.restart(running.node(name), running.plan(), running.op)
            running.reach(name, former)
            outcome = running.outcome(name)
            assert outcome.state is NodeState.READY, f"{name} did not come back: {outcome.cause}"
            assert not former or outcome.boot_id != former, f"{name} shows the boot id of before its crash"
        self.nothing_left(session, "after crash, restart and down")

    def test_console(self, session: Workbench, composition: Path) -> None:
        """Each node's console is kept in a file of its own."""
        flavour = self._offers(session, Console)
        with self.up(session, composition) as running:
            files = {name: flavour.console(name, running.op) for name in running}
            assert len(set(files.values())) == len(files), f"nodes share a console: {files}"
            empty = [name for name, path in files.items() if not path.exists() or not path.stat().st_size]
            assert not empty, f"the consoles of {', '.join(empty)} are empty"

    def test_links(self, session: Workbench, composition: Path) -> None:
        """A node that is cut off its networks is still reached by nxc itself, and joins again."""
        flavour = self._offers(session, Links)
        with self.up(session, composition) as running:
            name = next(iter(running))
            for act in (flavour.block, flavour.block, flavour.unblock, flavour.unblock):
                act(running.node(name), running.op)
                assert proof(running, name)[0] == running.deployment.instances[name]

    def test_rebooting(self, session: Workbench, composition: Path) -> None:
        """A node that the flavour reboots comes back as the same instance, in another boot."""
        self._offers(session, Rebooting)
        with self.up(session, composition) as running:
            name = next(iter(running))
            former = _boot(running, name)
            running[name].reboot()
            instance, _ = proof(running, name)
            assert instance == running.deployment.instances[name], f"{name} came back as {instance!r}"
            assert _boot(running, name) != former, f"{name} was rebooted, but it is the boot of before"
        self.nothing_left(session, "after a reboot and down")

    def test_exporting(self, session: Workbench, composition: Path, tmp_path: Path) -> None:
        """What is exported keeps its secrets, and names nothing of this machine."""
        self._offers(session, Exporting)
        folder, told = tmp_path / "exported", {"contract-secret": f"secret-{secrets.token_hex(16)}"}
        before = session.workspace.deployments()
        session.export(
            composition,
            folder,
            flavour=self.flavour,
            base=self.base,
            options=self.all_options,
            parameters=told,
        )
        documents = list(folder.glob("nodes/*/node.json"))
        assert documents, "there is no nodes/NAME/node.json: leave the node documents where they are"
        assert stat.S_IMODE((folder / "nodes").stat().st_mode) == 0o700, "others may enter nodes/"
        exposed = exposed_files([folder], told.values())
        assert not exposed, f"others can read a secret in {', '.join(exposed)}"
        own = {"the project": session.workspace.project, "the cache": paths.cache_dir(), "itself": folder}
        strange = [f"{path.relative_to(folder)} names {what}" for path, what in _names(folder, own)]
        assert not strange, f"the folder cannot be carried away: {', '.join(strange)}"
        assert session.workspace.deployments() == before, "an export is no deployment"
        self.nothing_left(session, "after an export")

    def _offers(self, session: Session, protocol: Any) -> Any:
        flavour = self.driver(session)
        if not isinstance(flavour, protocol):
            pytest.skip(f"{flavour.name} does not offer {protocol.__name__}")
        return flavour


def _boot(running: Running, name: str) -> str:
    """Tell this boot from others: by its boot id, else by when its first process was started."""
    _, boot_id = proof(running, name)
    if boot_id:
        return boot_id
    told = running.connection(name).run(("cat", "/proc/1/stat"), timeout=60).text
    return told.rpartition(")")[2].split()[19]


def _names(folder: Path, own: dict[str, Path]) -> Iterator[tuple[Path, str]]:
    """Yield files that hold a path of this machine, and links that lead out of the folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            if not path.resolve().is_relative_to(folder.resolve()):
                yield path, str(path.readlink())
        elif path.is_file() and path.stat().st_size <= LARGEST:
            content = path.read_bytes()
            yield from ((path, what) for what, place in own.items() if str(place).encode() in content)
