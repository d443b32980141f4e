"""The options of the NixOS base."""

from __future__ import annotations

import shlex

from attrs import field, frozen


@frozen(kw_only=True)
class NixosOptions:
    """What a user may set, as ``-o nixos.nixpkgs=...`` or in nxc.toml."""

    nixpkgs: str | None = field(
        default=None,
        metadata={"help": "nixpkgs for a project without a flake.lock: a folder, or a flake reference"},
    )
    composition: str | None = field(
        default=None,
        metadata={"help": "which composition, where a project has several: its name, or :: for all in one"},
    )
    setup: str | None = field(default=None, metadata={"help": "variant of the project's setup.toml"})
    setup_params: tuple[str, ...] = field(
        default=(), metadata={"help": "parameters on top of setup.toml's, as NAME=VALUE"}
    )
    flags: str = field(default="", metadata={"help": "more arguments for nix, as in a shell"})
    pure: bool = field(
        default=False, metadata={"help": "evaluate in one pure process that sees the project alone"}
    )
    impure: bool = field(
        default=False, metadata={"help": "let a flake see the environment, the time and other files"}
    )
    show_trace: bool = field(
        default=False, metadata={"help": "show Nix' own errors, unshortened, with their trace", "once": True}
    )
    builders: str | None = field(
        default=None, metadata={"help": "machines that build, as nix.conf's `builders`", "once": True}
    )
    jobs: int | None = field(
        default=None, metadata={"help": "processes that evaluate at once; default: all cores", "once": True}
    )
    store: str | None = field(
        default=None,
        metadata={
            "help": "store to build in, such as a folder; default: the machine's, else one of nxc's own"
        },
    )

    def __attrs_post_init__(self) -> None:
        if self.pure and self.impure:
            raise ValueError("pure and impure exclude each other")
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs: {self.jobs} is not a positive number")
        for text in self.setup_params:
            if not text.partition("=")[0].strip() or "=" not in text:
                raise ValueError(f"setup_params: {text!r} is not NAME=VALUE")
        try:
            shlex.split(self.flags)
        except ValueError as error:
            raise ValueError(f"flags: {error}") from None
