"""A flavour that takes any kind and boots nothing: the kit builds for it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import ClassVar

from attrs import define, field, frozen

from nxc_core.flavour import Flavour
from nxc_core.hookspecs import API_VERSION, FlavourEntry, hookimpl
from nxc_core.model import Artifact, Guest, Kind, Plan, Resource
from nxc_core.operation import Operation


@frozen(kw_only=True)
class TakerOptions:
    """Which kind to take."""

    kind: str = field(default="", metadata={"help": "the kind to build"})


class Taker(Flavour[TakerOptions]):
    """Accepts what its option says."""

    name = "contract-taker"
    options_type = TakerOptions
    gives = frozenset()
    asks: ClassVar[Guest] = Guest()
    """The guest of the contract that is tested."""

    def __init__(self, options: TakerOptions) -> None:
        super().__init__(options)
        self.accepts = (Kind(options.kind),)

    @property
    def guest(self) -> Guest:
        """What the contract's own guest asks for."""
        return type(self).asks

    def deploy(self, plan: Plan, op: Operation) -> None:
        """Boot nothing."""

    def release(self, resources: Sequence[Resource], op: Operation) -> Sequence[Resource]:
        """Nothing was made."""
        return resources


@define(eq=False)
class TakerPlugin:
    """Offers the taker, and counts builds."""

    NXC_API: ClassVar[int] = API_VERSION

    builds: int = 0

    @hookimpl
    def nxc_flavours(self) -> Iterator[FlavourEntry]:
        """Offer the taker."""
        yield FlavourEntry(
            name="contract-taker", summary="takes any kind", target="nxc_core.testing.taker:Taker"
        )

    @hookimpl(wrapper=True)
    def nxc_build(self) -> Generator[None, Artifact, Artifact]:
        """Count."""
        self.builds += 1
        return (yield)
