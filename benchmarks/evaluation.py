"""What evaluating NixOS compositions costs, against NixOS Compose on the same nixpkgs.

    evaluation.py --nixpkgs TREE --upstream CHECKOUT [--roles 1,5] [--flavours docker] [--pairs 3] [--quick]

Both are folders on this machine; nothing is downloaded or built. Roles are K3S-like, the same files for all:
  nxc       as `nxc build` evaluates: several processes
  plain     nix-instantiate of nix/driver.nix: one process
  upstream  nix-instantiate of NixOS Compose's compose.nix, with tests/nix/upstream/shim.nix for an older tree
Each run begins with an empty cache and a store that holds nothing but nixpkgs, as where it is an input of a
flake, and writes its derivations there. Nobody may edit nxc meanwhile: what is kept depends on it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import frozen
from pairs import Cost, compare, measure
from weighing import Weight, weigh

ROOT = Path(__file__).resolve().parents[1]
EMPTY = "import typer\napp = typer.Typer()\n@app.command()\ndef main() -> None: ...\napp()\n"
SYSTEM = "x86_64-linux"
MEASURES = ("cpu", "wall", "largest", "together")

SERVER = """    server = { pkgs, ... }: {
      environment.systemPackages = with pkgs; [ k3s gzip ];
      networking.firewall.allowedTCPPorts = [ 6443 ];
      services.k3s = {
        enable = true;
        role = "server";
        package = pkgs.k3s;
        extraFlags = "--agent-token ${token}";
      };
    };
"""
AGENT = """    agent%d = { pkgs, ... }: {
      environment.systemPackages = with pkgs; [ k3s gzip ];
      environment.etc."role-number".text = "%d";
      services.k3s = {
        enable = true;
        role = "agent";
        serverAddr = "https://server:6443";
        inherit token;
      };
    };
"""


def write_composition(roles: int) -> str:
    """Return a composition of one server and agents that all differ."""
    agents = "".join(AGENT % (number, number) for number in range(1, roles))
    head = '{ pkgs, ... }:\nlet\n  token = "0123456789abcdef";\nin\n{\n  nodes = {\n'
    return f"{head}{SERVER}{agents}  }};\n  testScript = ''server.succeed(\"true\")'';\n}}\n"


def aims_of(flavour: str, roles: int) -> Mapping[str, float]:
    """Return the largest ratios to upstream that the issue allows."""
    if flavour == "vm-ramdisk" and roles == 1:
        return {"cpu": 0.9, "wall": 0.95, "largest": 0.9}
    if flavour == "vm-ramdisk" and roles >= 5:
        return {"cpu": 0.75, "wall": 0.5, "largest": 0.5, "together": 1.0}
    if flavour != "vm-ramdisk" and roles == 20:
        return dict.fromkeys(MEASURES, 1.0)
    return {}


@frozen(kw_only=True)
class Bench:
    """The trees that are compared, and a folder to work in."""

    folder: Path
    nixpkgs: Path
    upstream: Path

    def project(self, roles: int) -> Path:
        """Return a composition file with so many roles."""
        place = self.folder / f"roles-{roles}"
        if not place.exists():
            place.mkdir()
            (place / "composition.nix").write_text(write_composition(roles))
        return place / "composition.nix"

    @property
    def store(self) -> Path:
        """Return the one store of all runs: their derivations have the same names."""
        return self.nixpkgs.parent

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables for an empty store, and a cache below a folder."""
        for path in self.store.iterdir():
            if path != self.nixpkgs:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        places = {f"NIX_{name}_DIR": home / name.lower() for name in ("STATE", "LOG", "CONF")}
        places |= {"HOME": home / "home", "XDG_CACHE_HOME": home / "cache"}
        for place in places.values():
            place.mkdir(parents=True, exist_ok=True)
        settings = "experimental-features = nix-command flakes\nsubstituters =\nbuild-users-group ="
        return {
            **{name: str(place) for name, place in places.items()},
            "NIX_STORE_DIR": str(self.store),
            "NIX_CONFIG": settings,
            "NIX_REMOTE": "",
        }

    def nxc(self, flavour: str, roles: int) -> list[str | Path]:
        """Return the command of what `nxc build` does until Nix builds."""
        script = Path(__file__).with_name("evaluating.py")
        return [sys.executable, script, self.project(roles), self.nixpkgs, flavour]

    def plain(self, flavour: str, roles: int) -> list[str | Path]:
        """Return the command that evaluates our library in one process."""
        source = f"{{ composition = {self.project(roles)}; nixpkgs = {self.nixpkgs}; }}"
        words = ["--arg", "source", source, "--argstr", "flavour", flavour, "--argstr", "system", SYSTEM]
        return ["nix-instantiate", ROOT / "nix/driver.nix", "-A", "package", *words]

    def theirs(self, flavour: str, roles: int) -> list[str | Path]:
        """Return the command that evaluates with NixOS Compose."""
        expression = f"""
          let
            nixpkgs = {self.nixpkgs};
            shim = import {ROOT}/tests/nix/upstream/shim.nix nixpkgs;
          in
          (import {self.upstream}/nix/compose.nix {{
            system = "{SYSTEM}";
            nixpkgs = {{
              outPath = toString nixpkgs;
              lib = import (nixpkgs + "/lib");
              legacyPackages.{SYSTEM} = import nixpkgs {{ system = "{SYSTEM}"; }};
            }};
            composition = import {self.project(roles)};
            inherit (shim) overlays extraConfigurations;
          }})."composition::{flavour}"
        """
        return ["nix-instantiate", "-E", expression]


def prepare(folder: Path, nixpkgs: Path, upstream: Path) -> Bench:
    """Copy nixpkgs to where a flake's input is, in the store."""
    kept = folder / "store" / f"{'0' * 32}-source"
    kept.parent.mkdir()
    subprocess.run(["cp", "-a", nixpkgs, kept], check=True)
    return Bench(folder=folder, nixpkgs=kept, upstream=upstream)


Side = Callable[[str, int], list[str | Path]]


def run_once(bench: Bench, argv: Sequence[str | Path]) -> tuple[Weight, list[str]]:
    """Run a side in a store of its own; return what it took, and the systems that it made."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        env = bench.environment(Path(name))
        weight = weigh(argv, env=env)
        return weight, systems_of(weight.stdout, {**os.environ, **env})


def systems_of(printed: str, env: Mapping[str, str]) -> list[str]:
    """Return the derivations of the roles' systems, as nxc says or as the last derivation needs."""
    if printed.startswith("{"):
        toplevels = json.loads(printed)["toplevels"]
        return [f"{role} {path.removesuffix('!out')}" for role, path in sorted(toplevels.items())]
    argv = ["nix-store", "--query", "--requisites", printed.split()[-1]]
    needed = subprocess.run(argv, env=dict(env), capture_output=True, text=True, check=True).stdout
    return sorted(path for path in needed.split() if "-nixos-system-" in path and path.endswith(".drv"))


def compare_sides(bench: Bench, flavour: str, roles: int, pairs: int) -> None:
    """Run all sides in turn, and print medians, ratios and aims."""
    sides: dict[str, Side] = {"nxc": bench.nxc, "plain": bench.plain, "upstream": bench.theirs}
    weights: dict[str, list[Weight]] = {name: [] for name in sides}
    systems: dict[str, list[str]] = {}
    load = os.getloadavg()[0]
    for index in range(pairs):
        for name in list(sides) if index % 2 == 0 else list(reversed(sides)):
            weight, systems[name] = run_once(bench, sides[name](flavour, roles))
            weights[name].append(weight)
    say(f"{flavour}, {roles} roles  (n = {pairs}, load {load:.1f} to {os.getloadavg()[0]:.1f})")
    say("             CPU s   wall s   largest MiB   together MiB")
    for name, found in weights.items():
        row = {key: statistics.median(getattr(one, key) for one in found) for key in MEASURES}
        say(
            f"  {name:9} {row['cpu']:7.2f}  {row['wall']:7.2f}   {row['largest']:11.0f}"
            f"   {row['together']:12.0f}"
        )
    for name in ("nxc", "plain"):
        row = {key: ratio(weights[name], weights["upstream"], key) for key in MEASURES}
        say(
            f"  {name + '/up':9} {row['cpu']:7.2f}  {row['wall']:7.2f}   {row['largest']:11.2f}"
            f"   {row['together']:12.2f}" + (judge(row, aims_of(flavour, roles)) if name == "nxc" else "")
        )
    for name, paths in systems.items():
        if name != "plain":
            say(f"  {name}: {len(paths)} systems", *(f"    {path}" for path in paths if roles <= 5))


def ratio(ours: Sequence[Weight], theirs: Sequence[Weight], key: str) -> float:
    """Return the median of the pairs' ratios."""
    pairs = zip(ours, theirs, strict=True)
    return float(statistics.median(getattr(a, key) / getattr(b, key) for a, b in pairs))


def judge(row: Mapping[str, float], aims: Mapping[str, float]) -> str:
    """Say which aims are met."""
    told = [f"{key} {aim} {'met' if row[key] <= aim else 'MISSED'}" for key, aim in aims.items()]
    return f"   aims: {', '.join(told)}" if told else ""


def change_one_role(bench: Bench, roles: int) -> None:
    """Edit one role of several between two evaluations with the same store and cache."""
    home = bench.folder / "kept"
    env = bench.environment(home)
    source = bench.project(roles)
    argv = bench.nxc("vm-ramdisk", roles)
    first = weigh(argv, env=env)
    again = weigh(argv, env=env)
    text = source.read_text()
    source.write_text(text.replace('"role-number".text = "3"', '"role-number".text = "three"'))
    edited = weigh(argv, env=env)
    source.write_text(text.replace('server.succeed("true")', 'server.succeed("false")'))
    script = weigh(argv, env=env)
    source.write_text(text)
    for title, weight in (
        ("at first", first),
        ("nothing changed", again),
        ("one role edited", edited),
        ("test script edited", script),
    ):
        evaluated = json.loads(weight.stdout)["evaluated"]
        say(
            f"{roles} roles, {title}: wall {weight.wall:.2f} s, CPU {weight.cpu:.2f} s, evaluated {evaluated}"
        )
    shutil.rmtree(home)


def change_nothing(bench: Bench, pairs: int) -> None:
    """`nxc build` of what is built, on the stand-in for nixpkgs: for the real one that needs a network."""
    from tests.standin import EXAMPLES, stand_in

    home = bench.folder / "stand-in"
    home.mkdir()
    found = stand_in(home)
    project = bench.folder / "webserver"
    shutil.copytree(EXAMPLES / "webserver", project)
    empty = bench.folder / "empty.py"
    empty.write_text(EMPTY)
    option = f"nixos.nixpkgs={found.nixpkgs}"
    argv: list[str | Path] = [
        Path(sys.executable).with_name("nxc"),
        "build",
        "-q",
        "-f",
        "vm-ramdisk",
        "-o",
        option,
    ]

    def ours() -> Cost:
        return measure(argv, env=found.environment(), cwd=project)

    ours()
    compare(
        "nxc build of NixOS, nothing changed / empty typer application",
        ours, lambda: measure([sys.executable, empty]), n=pairs, limit="difference at most 0.25 s wall",
    )  # fmt: skip
    start = "from pathlib import Path; from nxc_nixos.tree import stat_digest; "
    none, whole = (
        statistics.median(measure([sys.executable, "-c", start + code]).wall for _ in range(pairs))
        for code in ("", f"stat_digest(Path({str(bench.nixpkgs)!r}))")
    )
    say(f"  where nixpkgs is a plain folder, no flake's input: {whole - none:.3f} s more to look through it")


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nixpkgs", type=Path, required=True, help="a tree of nixpkgs")
    parser.add_argument("--upstream", type=Path, required=True, help="a checkout of NixOS Compose")
    parser.add_argument("--roles", default="1,2,5,10,20")
    parser.add_argument("--flavours", default="vm-ramdisk,docker,g5k-image")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="1 and 5 roles, vm-ramdisk, one pair")
    given = parser.parse_args()
    roles = [1, 5] if given.quick else [int(number) for number in given.roles.split(",")]
    flavours = ["vm-ramdisk"] if given.quick else given.flavours.split(",")
    with tempfile.TemporaryDirectory() as name:
        bench = prepare(Path(name), given.nixpkgs.resolve(), given.upstream.resolve())
        change_nothing(bench, 3 if given.quick else 15)
        change_one_role(bench, 5 if given.quick else 10)
        for flavour in flavours:
            for number in roles:
                compare_sides(bench, flavour, number, 1 if given.quick else given.pairs)


if __name__ == "__main__":
    main()
