"""What platforms still hold for nobody: found and removed through the flavours that can tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nxc_core.errors import Interrupted, NxcError
from nxc_core.flavour import Sweeping
from nxc_core.model import Json, Leftover
from nxc_core.operation import Operation

if TYPE_CHECKING:
    from nxc_core.session import Session

Options = Mapping[str, Mapping[str, Json]]


def find_leftovers(
    session: Session, options: Options | None = None
) -> Iterator[tuple[str, Sequence[Leftover]]]:
    """Give each flavour's leftovers, with its name; a flavour that cannot be asked is passed by."""
    op = session.operation(session.workspace.root, "clean")
    for name in session.plugins.flavours:
        try:
            driver = session.plugins.flavour(name, (options or {}).get(name))
            if isinstance(driver, Sweeping) and (found := list(driver.leftovers(op))):
                yield name, found
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a platform, the rest is cleaned
            _pass_by(op, name, error)


def sweep(
    session: Session, flavour: str, leftovers: Sequence[Leftover], options: Options | None = None
) -> tuple[int, list[str]]:
    """Remove a flavour's leftovers; returns the bytes freed, and in words what is still there."""
    op = session.operation(session.workspace.root, "clean")
    gone: set[tuple[str, str]] = set()
    why = ""
    try:
        driver = session.plugins.flavour(flavour, (options or {}).get(flavour))
        if isinstance(driver, Sweeping):
            gone = {(one.what, one.id) for one in driver.sweep(leftovers, op)}
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        why = f" ({_spell(error)})"
    left = [f"{flavour} {one.what} {one.id}{why}" for one in leftovers if (one.what, one.id) not in gone]
    return sum(one.size for one in leftovers if (one.what, one.id) in gone), left


def _pass_by(op: Operation, flavour: str, error: Exception) -> None:
    op.step(f"what {flavour} may have left is not looked for: {_spell(error)}", topic="detail")


def _spell(error: Exception) -> str:
    return str(error) if isinstance(error, NxcError) else f"{type(error).__name__}: {error}"
