"""A NixOS deployment, a stand-in's, exported with its store in the image.

The stand-in's systemd is Debian's and not in the store, so nodes are followed up to where they start it.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
import yaml

from nxc_core.session import DriverOptions, Session
from tests.engines import Engine
from tests.standin import set_variables, stand_in
from tests.standin_machine import debian_machine

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.full, pytest.mark.timeout(1800)]

COMPOSITION = """{ pkgs, ... }: {
  roles.server = { };
  roles.client.environment.etc.role.text = "the client";
  testScript = "";
}
"""
UP = 300.0


@pytest.fixture(scope="module")
def machine(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian_machine(shared_cache, tmp_path_factory)


def test_an_exported_nixos_begins_from_its_image(
    machine: Path, docker_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "standin").mkdir()
    found = stand_in(tmp_path / "standin", machine)
    project, folder = tmp_path / "project", tmp_path / "exported"
    project.mkdir()
    (project / "composition.nix").write_text(COMPOSITION)
    set_variables(monkeypatch, found.variables())
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    options: DriverOptions = {"nixos": {"nixpkgs": str(found.nixpkgs)}, "docker": {"self_contained": True}}
    Session.open(project).export(
        project / "composition.nix", folder, flavour="docker", base="nixos", options=options
    )
    services = yaml.safe_load((folder / "docker-compose.yaml").read_text())["services"]
    (archive,) = (folder / "images").iterdir()
    assert {each["image"] for each in services.values()} == {archive.name[:-7].replace("nixos-", "nixos:")}
    assert not any(each["target"] == "/nix/store" for one in services.values() for each in one["volumes"])

    def run(*argv: str, check: bool = True) -> str:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    id = services["server"]["labels"]["nxc.deployment"]
    compose = ("docker-compose", "-H", docker_engine.url)
    run("docker", "-H", docker_engine.url, "load", "-i", str(archive))
    try:
        run(*compose, "up", "-d")
        inits = {service["command"][-1] for service in services.values()}
        assert len(inits) == 2
        assert all(init.startswith("/nix/store/") for init in inits)
        end = time.monotonic() + UP
        while (said := run(*compose, "logs")).count("starting systemd...") < 2:
            assert time.monotonic() < end, said
            time.sleep(0.2)
        assert all(init in said for init in inits)
        run(*compose, "down")
        assert docker_engine.found(f"nxc.deployment={id}") == []
    finally:
        docker_engine.sweep(f"nxc.deployment={id}")
