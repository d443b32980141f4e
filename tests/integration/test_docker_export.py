"""Deployments by a compose file: exported, carried elsewhere, brought up by docker-compose without nxc."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from nxc_core import identity, state
from nxc_core.errors import ConfigError
from nxc_core.model import (
    CLOSURE,
    LAYERS,
    Artifact,
    BuildRequest,
    Composition,
    Container,
    Guest,
    Need,
    NodeDocument,
    Plan,
    Role,
    RoleBoot,
)
from nxc_core.session import Session
from nxc_debian.base import DebianBase
from nxc_debian.options import DebianOptions
from nxc_docker import compose, engine as engines, export, images
from nxc_docker.options import DockerOptions
from nxc_docker.profile import flags
from tests.engines import Engine as Service
from tests.exported import Exported, operation, run

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.timeout(900)]

BASIC = Path(__file__).parents[2] / "examples" / "basic"
GUEST = Guest(ssh=False, kernel=False, root="container", lean=True)


@pytest.fixture(scope="module")
def built(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Composition, Artifact]:
    """The first example, as layers."""
    project = tmp_path_factory.mktemp("basic")
    shutil.copytree(BASIC, project, ignore=shutil.ignore_patterns(".nxc"), dirs_exist_ok=True)
    op = operation(project / "op", shared_cache)
    base = DebianBase(DebianOptions())
    composition = base.read(project / "composition.nix", op)
    return composition, base.build(BuildRequest(composition=composition, kind=LAYERS, guest=GUEST), op)


def draw(folder: Path, built: tuple[Composition, Artifact], roles: Mapping[str, Role]) -> Plan:
    """Plan a deployment in a folder, with the documents that the core would write."""
    composition, artifact = built
    specs = identity.distribute(composition)
    id = f"basic-docker-{folder.name[-6:].strip('-_').lower()}"
    networks = identity.make_networks(id, specs)
    documents = {}
    for spec in specs:
        place = folder / "nodes" / spec.name
        place.mkdir(parents=True, mode=0o700)
        document = NodeDocument(
            deployment=id,
            instance=f"instance-{spec.name}",
            node=spec.name,
            role=spec.role,
            hosts={name: addresses[:1] for name, addresses in networks[0].members.items()},
        )
        documents[spec.name] = place / "node.json"
        state.save(documents[spec.name], document, mode=0o600)
    return Plan(
        deployment=id,
        artifact=artifact,
        nodes=specs,
        networks=networks,
        documents=documents,
        instances={},
        key=folder / "key",
        known_hosts=folder / "known_hosts",
        roles=roles,
    )


# One model, two uses


ASKED = {
    "foo": Role(
        name="foo",
        needs=(Need(need="net-admin", option="x"),),
        container=Container(
            ports=("127.0.0.1:18080:80", "53/udp"),
            volumes=("/etc:/data:ro", "state:/var/lib/state"),
            memory="256m",
            cpus=1.5,
            pids=500,
            sysctls={"net.ipv4.ip_forward": "1", "net.core.somaxconn": "1024"},
        ),
    )
}


def seen(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the engine made of a node, without what is another for each container."""
    config, host = told["Config"], told["HostConfig"]
    ((network, endpoint),) = told["NetworkSettings"]["Networks"].items()
    limits = ("Memory", "NanoCpus", "PidsLimit", "CapAdd", "CapDrop", "Privileged", "Tmpfs", "Sysctls")
    rest = ("PortBindings", "CgroupnsMode", "RestartPolicy", "UsernsMode", "PidMode", "IpcMode", "ShmSize")
    named = ("Hostname", "Image", "Cmd", "Entrypoint", "Env", "Tty", "OpenStdin", "StopSignal", "StopTimeout")
    mounts = [{key: each.get(key) for key in each if key != "Source"} for each in told["Mounts"]]
    sources = {each["Destination"]: each["Source"] for each in told["Mounts"]}
    labels = {key: value for key, value in config["Labels"].items() if "docker.compose" not in key}
    return {
        **{key: host.get(key) for key in (*limits, *rest)},
        **{key: config.get(key) for key in named},
        "SecurityOpt": host["SecurityOpt"] or [],
        "Mounts": sorted(mounts, key=lambda each: str(each["Destination"])),
        "Sources": sources,
        "Labels": labels,
        "Network": network,
        "Address": endpoint["IPAddress"],
        "Gateway": endpoint["Gateway"],
        "Aliases": sorted(alias for alias in endpoint["Aliases"] if len(alias) != 12),
        "ImageId": told["Image"],
    }


def test_compose_and_the_api_make_the_same(
    built: tuple[Composition, Artifact], docker_engine: Service, shared_cache: Path, tmp_path: Path
) -> None:
    engine = engines.connect(DockerOptions(url=docker_engine.url))
    plan = draw(tmp_path, built, ASKED)
    tags = images.ensure(plan, engine, operation(tmp_path / "op", shared_cache))
    model = compose.model(plan, tags, flags(engine.profile), folder=tmp_path)
    inspect: Any = engine.api.inspect_container

    def look() -> dict[str, Any]:
        network = engine.api.networks(names=[model.network.name])[0]
        nodes = {each.node: seen(inspect(each.name)) for each in model.services}
        found = {key: network[key] for key in ("Name", "Driver", "IPAM", "Internal", "EnableIPv6")}
        return {**nodes, "network": found}

    try:
        network = engine.api.create_network(**compose.to_network(model))["Id"]
        for name in model.volumes:
            engine.api.create_volume(name, labels=dict(model.labels))
        for service in model.services:
            call = compose.to_create(service, model, engine.api.api_version, network=network)
            engine.api.start(engine.api.create_container(**call)["Id"])
        by_api = look()
    finally:
        docker_engine.sweep(f"nxc.deployment={plan.deployment}")
    (tmp_path / compose.COMPOSE_FILE).write_text(compose.to_compose(model, tmp_path))
    try:
        run("docker-compose", "-H", docker_engine.url, "up", "-d", cwd=tmp_path)
        by_compose = look()
        run("docker-compose", "-H", docker_engine.url, "down", "-v", cwd=tmp_path)
        assert docker_engine.found(f"nxc.deployment={plan.deployment}") == []
    finally:
        docker_engine.sweep(f"nxc.deployment={plan.deployment}")
        engines.forget()
    assert by_compose == by_api
    foo = by_api["foo"]
    assert (foo["Memory"], foo["NanoCpus"], foo["PidsLimit"]) == (256 << 20, 15 * 10**8, 500)
    assert (foo["CapAdd"], foo["StopSignal"]) == (["NET_ADMIN"], "SIGRTMIN+3")
    assert foo["Address"] == plan.networks[0].members["foo"][0]
    assert foo["Sources"]["/nxc/node.json"] == str(plan.documents["foo"])


@pytest.fixture(scope="module")
def exported(
    built: tuple[Composition, Artifact],
    docker_engine: Service,
    shared_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    """Export the first example as a user does, where no engine is."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        patch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
        Session.open(built[0].source.parent).export(built[0].source, folder, flavour="docker")
    specs = identity.distribute(built[0])
    return Exported(folder=folder, service=docker_engine, specs=specs, composition=built[0])


@pytest.fixture
def bare(exported: Exported) -> Iterator[None]:
    """Have an engine without images of ours, and nothing left in it."""
    with exported.service.client() as client:
        for image in client.images.list(filters={"label": "nxc.image"}):
            client.images.remove(str(image.id), force=True)
    yield
    left = exported.service.found(f"nxc.deployment={exported.id}")
    exported.service.sweep(f"nxc.deployment={exported.id}")
    assert left == []


def test_the_test_script_holds_without_nxc(exported: Exported, bare: None, tmp_path: Path) -> None:
    exported.up()
    try:
        exported.test(tmp_path)
        for node in exported.document["services"]:
            document = json.loads((exported.folder / "nodes" / node / "node.json").read_text())
            assert run(*exported.execution(node), "cat", "/run/nxc/ready").strip() == document["instance"]
    finally:
        exported.down()


def test_a_copy_elsewhere_works(exported: Exported, bare: None, tmp_path: Path) -> None:
    """The first folder is away meanwhile: nothing may be taken from there."""
    elsewhere = tmp_path / "another place" / "copy"
    shutil.copytree(exported.folder, elsewhere)
    away = exported.folder.rename(exported.folder.with_name("away"))
    copy = Exported(
        folder=elsewhere,
        service=exported.service,
        specs=exported.specs,
        composition=exported.composition,
    )
    try:
        copy.up()
        copy.test(tmp_path)
    finally:
        copy.down()
        away.rename(exported.folder)


def test_nothing_of_this_machine_is_in_it(exported: Exported) -> None:
    text = exported.folder / "docker-compose.yaml"
    assert str(exported.folder) not in text.read_text()
    assert "nxc.folder" not in text.read_text()
    names = {str(path.relative_to(exported.folder)) for path in exported.folder.rglob("*")} - {"known_hosts"}
    fixed = {"README.md", "docker-compose.yaml", "images", "nodes"}
    nodes = {f"nodes/{spec.name}{more}" for spec in exported.specs for more in ("", "/node.json")}
    archives = {name for name in names if name.startswith("images/")}
    assert names == fixed | nodes | archives
    assert len(archives) == len({service["image"] for service in exported.document["services"].values()})
    for path in exported.folder.rglob("*"):
        private = path.name == "node.json"
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or not private, path
        if path.is_file() and not path.name.endswith(".gz"):
            assert "PRIVATE KEY" not in path.read_text(), path
    for path in exported.folder.glob("nodes/*/node.json"):
        assert json.loads(path.read_text())["host_key"] == ""


def test_the_same_deployment_is_exported_alike(
    built: tuple[Composition, Artifact], shared_cache: Path, tmp_path: Path
) -> None:
    found = []
    for place in ("here", "there"):
        folder = tmp_path / place / "export"
        folder.mkdir(parents=True)
        op = operation(tmp_path / "op", shared_cache)
        export.write(draw(folder, built, ASKED), folder, cgroup=export.choose_cgroup(), op=op)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found.append({str(path.relative_to(folder)): path.read_bytes() for path in files})
    assert found[0] == found[1]


def test_another_machines_control_groups(
    built: tuple[Composition, Artifact], shared_cache: Path, tmp_path: Path
) -> None:
    """What docker-compose makes of it is seen here; that it boots, on a machine of that kind."""
    small = min(built[1].layers.values(), key=lambda layer: layer.tar.stat().st_size)
    boots = {role: RoleBoot(layers=(small.name,)) for role in built[1].roles}
    built = (built[0], Artifact(kind=LAYERS, layers={small.name: small}, roles=boots))
    for cgroup in (1, 2):
        folder = tmp_path / f"export{cgroup}"
        folder.mkdir()
        op = operation(tmp_path / "op", shared_cache)
        export.write(draw(folder, built, ASKED), folder, cgroup=cgroup, op=op)
        found = yaml.safe_load(run("docker-compose", "config", cwd=folder))["services"]["bar"]
        bound = any(each["source"] == "/sys/fs/cgroup/systemd" for each in found["volumes"])
        assert (bound, "SYS_ADMIN" in found.get("cap_add", ())) == (cgroup == 1, cgroup == 2)
        assert f"cgroup v{cgroup}" in (folder / "README.md").read_text()


def test_a_system_in_this_machines_store_is_not_exported(
    built: tuple[Composition, Artifact], shared_cache: Path, tmp_path: Path
) -> None:
    plan = draw(tmp_path, (built[0], Artifact(kind=CLOSURE)), {})
    with pytest.raises(ConfigError, match="Nix store") as caught:
        export.write(plan, tmp_path, cgroup=1, op=operation(tmp_path / "op", shared_cache))
    assert "self_contained" in caught.value.hint
