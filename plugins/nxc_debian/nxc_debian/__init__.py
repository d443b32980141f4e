"""The Debian base: systems built with mmdebstrap."""
