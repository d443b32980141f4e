"""systemd-nspawn containers for nxc: the fastest nodes, for root."""
