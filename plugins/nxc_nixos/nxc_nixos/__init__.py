"""NixOS systems for nxc, from a pinned nixpkgs, by Nix."""
