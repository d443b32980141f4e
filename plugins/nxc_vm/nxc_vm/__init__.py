"""Virtual machines on QEMU, wholly in memory, as an ordinary user."""
