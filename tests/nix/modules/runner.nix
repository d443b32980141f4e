# Every case under one lib: { file.case = { value } or { fails = true; } }.
{ lib }:
let
  helpers = {
    eval = modules: (lib.evalModules { inherit modules; }).config;
    evalOptions = modules: (lib.evalModules { inherit modules; }).options;
    # A module that declares the options `x`, `y`, ... of a set of types.
    declare = types: { options = builtins.mapAttrs (_: type: lib.mkOption { inherit type; }) types; };
    fixtures = ./fixtures;
  };
  attempt =
    value:
    let
      result = builtins.tryEval (builtins.deepSeq value value);
    in
    if result.success then { inherit (result) value; } else { fails = true; };
  files = builtins.filter (n: builtins.match ".*\\.nix" n != null) (
    builtins.attrNames (builtins.readDir ./cases)
  );
  run = file: {
    name = builtins.substring 0 (builtins.stringLength file - 4) file;
    value = builtins.mapAttrs (_: attempt) (import (./cases + "/${file}") { inherit lib helpers; });
  };
in
builtins.listToAttrs (map run files)
