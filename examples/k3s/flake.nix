{
  description = "Kubernetes by k3s, a server and an agent";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-24.05";
    nxc.url = "nxc"; # as `nix registry add nxc WHERE' says, or the address itself
    nxc.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      self,
      nixpkgs,
      nxc,
    }:
    let
      system = "x86_64-linux";
    in
    {
      packages.${system} = nxc.lib.compose {
        inherit nixpkgs system;
        composition = ./composition.nix;
      };
      devShells.${system}.default = nxc.devShells.${system}.nxcShell;
    };
}
