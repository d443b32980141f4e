"""Containers for nxc: docker with its compose file, and podman."""
