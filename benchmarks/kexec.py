"""What deploying by kexec costs.

1. `one`: a machine of QEMU, command to ready, against a bare script that copies, loads, leaps and waits, too.
2. `many`: 200 real sshd on the loopback device, from contact to launched.

Usage: kexec.py [one|many]...
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from kexec_many import measure_many


def compare_one() -> None:
    raise SystemExit("not measured yet")


PARTS: dict[str, Callable[[], None]] = {"one": compare_one, "many": measure_many}


def main() -> None:
    unknown = set(sys.argv[1:]) - set(PARTS)
    if unknown:
        raise SystemExit(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
