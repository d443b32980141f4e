{
  description = "nxc: one composition, every platform";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    inputs:
    import ./nix/outputs.nix (
      inputs
      // {
        examples = ./examples;
        source = ./.;
      }
    );
}
