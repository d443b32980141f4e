"""What deploying by kexec costs.

1. `one`: a machine of QEMU, command to ready, against a bare script that copies, loads, leaps and waits, too.
2. `hung`: how long after its deadline such a machine is named when it hangs.
3. `many`: 200 real sshd on the loopback device, from contact to launched.

Usage: kexec.py [one|hung|many]...
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from kexec_many import measure_many
from kexec_one import compare_one, tell_hung

PARTS: dict[str, Callable[[], None]] = {"one": compare_one, "hung": tell_hung, "many": measure_many}


def main() -> None:
    unknown = set(sys.argv[1:]) - set(PARTS)
    if unknown:
        raise SystemExit(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
