"""The flavour docker keeps the contract, on a real dockerd and on podman's socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core.session import Session
from tests.basic_contract import BasicContract
from tests.engines import Engine


class ContainerContract(BasicContract):
    """Two containers, with the images that all live tests share."""

    __test__ = False
    plugin = "nxc_docker.plugin"
    flavour = "docker"
    engine: Engine

    def use(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have everything done with this engine."""
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        self.engine = engine

    def leftovers(self, session: Session) -> list[str]:
        """Containers, networks and volumes, too."""
        known = session.workspace.deployments()
        found = [one for id in known for one in self.engine.found(f"nxc.deployment={id}")]
        return super().leftovers(session) + found


class DockerContract(ContainerContract):
    """On docker itself."""

    __test__ = False

    @pytest.fixture(autouse=True)
    def _engine(self, docker_engine: Engine, cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.use(docker_engine, monkeypatch)


@pytest.mark.live
@pytest.mark.timeout(900)
class TestDocker(DockerContract):
    """Every test."""

    resumes = 2


@pytest.mark.full
@pytest.mark.timeout(1800)
class TestDockerInFull(DockerContract):
    """Every test, with more crashes."""

    crash_records = ("claim", "note", "node")
    resumes = 4


class PodmanContract(ContainerContract):
    """The same driver, through podman's docker-compatible socket."""

    __test__ = False

    @pytest.fixture(autouse=True)
    def _engine(self, podman_engine: Engine, cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.use(podman_engine, monkeypatch)


@pytest.mark.live
@pytest.mark.timeout(900)
class TestPodman(PodmanContract):
    """What may differ from docker; how crashes are survived does not."""

    test_importing_is_cheap_and_silent = None  # type: ignore[assignment]
    test_options_have_default_and_help = None  # type: ignore[assignment]
    test_a_crash_around_any_claim_leaks_nothing = None  # type: ignore[assignment]
    test_a_crashed_start_is_gone_on_with = None  # type: ignore[assignment]
    test_two_deployments_do_not_meet = None  # type: ignore[assignment]
    test_what_is_saved_is_enough = None  # type: ignore[assignment]
    test_released_and_taken_down_twice = None  # type: ignore[assignment]
    test_secrets_stay_secret = None  # type: ignore[assignment]


@pytest.mark.full
@pytest.mark.timeout(1800)
class TestPodmanInFull(PodmanContract):
    """Every test."""

    resumes = 2
