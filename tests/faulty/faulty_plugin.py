"""Offers the drivers whose faults are not in the import."""

from __future__ import annotations

from collections.abc import Iterator

from nxc_core import BaseEntry, FlavourEntry, hookimpl

NXC_API = 1

FLAVOURS = (
    *("Sound", "Unclaimed", "ClaimsLate", "Nameless", "Intolerant", "Speechless", "Forgetful", "Selective"),
    *("Optimist", "Mixer", "Dropper", "Exhibitionist", "Loud", "Unstoppable", "Fragile", "Picky", "Meddler"),
    *("Impostor", "Ruthless", "Undead", "Blind", "Starter", "Stateful", "Lazy", "Shared", "Unexplained"),
    *("Undecided", "Misnamed"),
)
OFFERS = ("Generous", "Prudish", "Babbling", "Crowded", "Dozy", "Rooted", "Frank")
RESERVING = ("Reserved", "Crammed", "Secretive", "Stubborn", "Homeless", "Twinned", "Inert")
BASES = ("Steady", "Restless", "Inhospitable", "Shortsighted", "Random", "Boastful", "Wilful", "Curt")


@hookimpl
def nxc_flavours() -> Iterator[FlavourEntry]:
    """Offer the flavours."""
    for name in FLAVOURS:
        yield FlavourEntry(name=name.lower(), summary="faulty", target=f"faulty_flavours:{name}")
    for name in OFFERS:
        yield FlavourEntry(name=name.lower(), summary="faulty", target=f"faulty_offers:{name}")
    for name in RESERVING:
        yield FlavourEntry(name=name.lower(), summary="faulty", target=f"faulty_reserving:{name}")


@hookimpl
def nxc_bases() -> Iterator[BaseEntry]:
    """Offer the bases."""
    for name in BASES:
        yield BaseEntry(name=name.lower(), summary="faulty", target=f"faulty_bases:{name}")
