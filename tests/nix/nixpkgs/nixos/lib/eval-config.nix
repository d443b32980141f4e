# Modules in, a system out: the interface of nixpkgs' file of this name.
evaluationArguments@{
  system ? builtins.currentSystem,
  pkgs ? null,
  lib ? import ../../lib,
  baseModules ? import ../modules/module-list.nix,
  extraArgs ? { },
  specialArgs ? { },
  modules,
  modulesLocation ? null,
  check ? true,
  prefix ? [ ],
  extraModules ? [ ],
}:
let
  given = {
    _file = ./eval-config.nix;
    key = ./eval-config.nix;
    nixpkgs = lib.mkMerge [
      (lib.optionalAttrs (system != null) { system = lib.mkDefault system; })
      (lib.optionalAttrs (pkgs != null) { inherit pkgs; })
    ];
    _module.args = extraArgs // {
      inherit baseModules extraModules modules;
    };
  };
  evaluated = lib.evalModules {
    inherit prefix;
    modules = baseModules ++ extraModules ++ [ given ] ++ modules;
    specialArgs = {
      modulesPath = toString ../modules;
    }
    // specialArgs;
  };
in
evaluated
// {
  inherit (evaluated._module.args) pkgs;
  inherit lib extraArgs;
  extendModules =
    {
      modules ? [ ],
      specialArgs ? { },
      prefix ? [ ],
    }:
    import ./eval-config.nix (
      evaluationArguments
      // {
        modules = evaluationArguments.modules ++ modules;
        specialArgs = evaluationArguments.specialArgs or { } // specialArgs;
      }
    );
}
