"""What a user may set of the flavour ``nspawn``."""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class NspawnOptions:
    """Options of every node of the deployment."""

    lean: bool = field(
        default=True,
        metadata={"help": "leave out services that a container seldom needs: boots faster, asks less"},
    )
