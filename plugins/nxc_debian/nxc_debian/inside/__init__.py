"""What runs as root of a user namespace, or as root: unpacking, installing, packing."""
