{
  description = "nxc: one composition, every platform. The Nix library alone";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = inputs: import ./outputs.nix inputs;
}
