# The library as a flake's outputs, with the shim in what it is asked to compose.
library:
library
// {
  lib = library.lib // {
    compose =
      arguments:
      let
        shim = import ./shim.nix arguments.nixpkgs;
      in
      library.lib.compose (
        arguments
        // {
          overlays = shim.overlays ++ arguments.overlays or [ ];
          extraConfigurations = shim.extraConfigurations ++ arguments.extraConfigurations or [ ];
        }
      );
  };
}
