# Every option of the Debian base. An option here means what it means in NixOS.
[
  ./accepted.nix
  ./assertions.nix
  ./environment.nix
  ./filesystems.nix
  ./firewall.nix
  ./internal.nix
  ./kernel.nix
  ./locale.nix
  ./network.nix
  ./nfs.nix
  ./nginx.nix
  ./openssh.nix
  ./systemd.nix
  ./tmpfiles.nix
  ./users.nix
]
