"""What other versions of Nix complain of, in their words: Nix here is one version."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core.errors import BuildError, ConfigError, Interrupted, NxcError, PreflightError
from nxc_nixos.complaints import complain
from nxc_nixos.failure import Files

NEWER = """error:
       … while evaluating a branch condition
         at {project}/one.nix:7:3:
            6| {
            7|   x = y;
             |   ^

       … while evaluating the option `a.b':

       (stack trace truncated; use '--show-trace' to show the full, detailed trace)

       error: value is a string while a set was expected
"""  # fmt: skip
BUILDER = """error: Cannot build '/nix/store/{hash}-bad.drv'.
       Reason: builder failed with exit code 3.
       Output paths:
         /nix/store/{hash}-bad
       Last 2 log lines:
       > line 1
       > line 2
       For full logs, run:
         nix log /nix/store/{hash}-bad.drv
"""
SYSTEM = """error: Cannot build '/nix/store/{hash}-x.drv'.
       Reason: required system or feature not available
       Required system: 'aarch64-linux' with features {{}}
       Current system: 'x86_64-linux' with features {{benchmark, kvm}}
"""
HASH = "0" * 32


def test_newer_versions_put_the_error_last(tmp_path: Path) -> None:
    (tmp_path / "one.nix").touch()
    error = complain(NEWER.replace("{project}", str(tmp_path)), project=tmp_path, what="x")
    assert error.message.splitlines() == [
        "value is a string while a set was expected",
        "  at one.nix:7",
        "  while evaluating the option a.b",
    ]


def test_newer_versions_show_the_log_themselves(tmp_path: Path) -> None:
    error = complain(BUILDER.format(hash=HASH), project=tmp_path, what="x")
    assert isinstance(error, BuildError)
    assert error.message.splitlines() == [
        "bad could not be built: builder failed with exit code 3", "  | line 1", "  | line 2"
    ]  # fmt: skip
    error = complain(SYSTEM.format(hash=HASH), project=tmp_path, what="x")
    assert error.message.startswith("x is for aarch64-linux, this machine is x86_64-linux")


OTHERS: tuple[tuple[str, type[NxcError], str], ...] = (
    ("Path 'x.nix' in the repository \"/p\" is not tracked by Git.", ConfigError, "x.nix: not known to git"),
    ("cannot update unlocked flake input 'a' in pure mode", ConfigError, "flake.lock does not hold"),
    ("unable to download 'https://api.github.com/x': HTTP error 403 ()", ConfigError, "access-tokens"),
    ("unable to download 'https://x.org/x': HTTP error 404 ()", ConfigError, "is the address right"),
    ("interrupted by the user", Interrupted, "interrupted"),
    ("could not set permissions on '/nix/var/x' to 755: Operation not permitted", PreflightError, "yours"),
    ("opening lock file '/nix/var/nix/db/big-lock': Permission denied", PreflightError, "not yours to write"),
    ("opening file '/home/x/y.nix': Permission denied", ConfigError, "may not be read"),
    ("cloning builder process: Operation not permitted", PreflightError, "namespaces"),
    ("this system does not support the kernel namespaces that", PreflightError, "sandbox = false"),
    ("the group 'nixbld' specified in 'build-users-group' does not exist", PreflightError, "nixbld"),
    ("access to path '/etc/x' is forbidden in restricted mode", ConfigError, "/etc/x cannot be read"),
    (f"path '/nix/store/{HASH}-x' is not valid", BuildError, "not in the store any more"),
    ("experimental Nix feature 'flakes' is disabled; use", PreflightError, "feature flakes"),
)  # fmt: skip


@pytest.mark.parametrize(("words", "kind", "told"), OTHERS)
def test_words_that_cannot_be_had_from_nix_here(
    tmp_path: Path, words: str, kind: type[NxcError], told: str
) -> None:
    error = complain(f"error: {words}", project=tmp_path, what="x")
    assert type(error) is kind
    assert told in f"{error.message} {error.hint}"


@pytest.mark.parametrize("after", ["", ",", ", role `foo'", "."])
def test_a_file_is_named_whatever_follows_it(tmp_path: Path, after: str) -> None:
    (tmp_path / "composition.nix").write_text("{ }")
    said = f"in /nix/store/{'0' * 32}-source/composition.nix{after}"
    files = Files(root=tmp_path, locate=lambda _: tmp_path / "composition.nix")
    assert files.shorten(said) == f"in composition.nix{after}"
