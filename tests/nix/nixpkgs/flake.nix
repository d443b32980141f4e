# A stand-in for nixpkgs: the same outputs, next to no content, built with this machine's own programs.
{
  outputs =
    { self }:
    let
      lib = import ./lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
    in
    {
      lib = lib // {
        nixosSystem =
          arguments:
          import ./nixos/lib/eval-config.nix (
            {
              inherit lib;
              system = null;
            }
            // arguments
          );
      };
      legacyPackages = lib.genAttrs systems (system: import ./. { inherit system; });
    };
}
