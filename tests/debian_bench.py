"""The Debian base at work on a composition, and what it says meanwhile."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nxc_core.model import Artifact, BuildRequest, Event, Guest, Kind
from nxc_core.operation import Operation
from nxc_debian.base import DebianBase
from nxc_debian.options import DebianOptions
from tests.operations import operation_in

GUEST = Guest(kernel_modules=("virtio_net",), seed="fw_cfg")
FEATURES = """
{ pkgs, lib, ... }:
let
  brick = pkgs.writeShellScriptBin "brick" ''exec ${pkgs.hello}/bin/hello "$@"'';
  made = pkgs.runCommand "made" { nativeBuildInputs = [ pkgs.jq ]; WORD = "bar"; } ''
    mkdir -p $out/bin
    echo "{\\"a\\": \\"$WORD\\"}" | jq -r .a > $out/value
    printf '#!/bin/sh\\necho made\\n' > $out/bin/made
    chmod +x $out/bin/made
    test ! -e /sys/class/net/eth0
  '';
  joined = pkgs.symlinkJoin { name = "joined"; paths = [ brick made ]; postBuild = "echo x > $out/post"; };
in
{
  roles = {
    full = {
      environment.systemPackages = [ brick joined ];
      environment.etc."folder".source = ./folder;
      environment.etc."conf" = { text = "run=${./run.sh}"; mode = "0640"; user = "alice";
        group = "wheel"; };
      users.groups.wheel.gid = 1234;
      users.users.alice = { isNormalUser = true; uid = 4321; extraGroups = [ "wheel" ]; };
      systemd.services.hello = { script = "${./run.sh}"; wantedBy = [ "multi-user.target" ]; };
      services.nginx.enable = true;
      boot.kernelParams = [ "quiet" ];
    };
    quiet.environment.systemPackages = [ pkgs.nginx-light ];
    twin.environment.systemPackages = [ pkgs.nginx-light ];
  };
  testScript = "pass";
}
"""
EVENTS: list[Event] = []


def operation(folder: Path, cache: Path, *, offline: bool = False) -> Operation:
    folder.mkdir(parents=True, exist_ok=True)
    return operation_in(folder, cache=cache / "nxc", hear=EVENTS.append, offline=offline)


def write(project: Path, text: str = FEATURES) -> Path:
    (project / "folder").mkdir(parents=True, exist_ok=True)
    (project / "folder" / "data").write_text("data\n")
    (project / "run.sh").write_text("#!/bin/sh\necho run\n")
    (project / "run.sh").chmod(0o755)
    (project / "nxc.toml").touch()
    (project / "composition.nix").write_text(text)
    return project / "composition.nix"


def build(source: Path, kind: Kind, op: Operation, guest: Guest = GUEST, **options: object) -> Artifact:
    base = DebianBase(DebianOptions(**options))  # type: ignore[arg-type]
    return base.build(BuildRequest(composition=base.read(source, op), kind=kind, guest=guest), op)


def layers_made(since: int) -> list[str]:
    return [str(event.data["layer"]) for event in EVENTS[since:] if event.data.get("done")]


def digests(artifact: Artifact) -> dict[str, str]:
    found = {}
    for path in artifact.paths():
        with path.open("rb") as stream:
            found[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
