# The Debian base: evaluates the roles of a composition into documents for the builder.
{ lib }:
rec {
  makePkgs =
    {
      system,
      packageNames ? null,
    }:
    import ./pkgs { inherit lib system packageNames; };

  # What a module may ask for beside its own options; `nodes' holds the configurations of all machines.
  evalRole =
    {
      name,
      role,
      pkgs,
      nodes,
    }:
    lib.evalModules (
      {
        modules = import ./modules ++ [
          role
          {
            _file = "nxc";
            config._module.args = { inherit pkgs; };
          }
        ];
        specialArgs = {
          inherit lib name nodes;
        };
      }
      # nixpkgs' lib, in whose place ours stands, has no such hook.
      // lib.optionalAttrs ((builtins.functionArgs lib.evalModules) ? unknownOption) {
        inherit unknownOption;
      }
    );

  unknownOption =
    {
      loc,
      files ? [ ],
      near ? [ ],
    }:
    "nxc: ${lib.concatStringsSep ", " files}: option `${lib.showOption loc}' does not exist on the debian base"
    + lib.optionalString (near != [ ]) " (did you mean ${
      lib.concatMapStringsSep ", " (other: "`${if builtins.isList other then lib.showOption other else other}'") near
    }?)"
    + "; the nixos base has every NixOS option: --base nixos";

  document = import ./document.nix { inherit lib; };
}
