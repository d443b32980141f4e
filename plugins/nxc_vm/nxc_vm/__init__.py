"""Virtual machines on QEMU, as an ordinary user."""
