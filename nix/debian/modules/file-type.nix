# The type of one file of the built system; `label` is what precedes its name, "/etc/" or "".
{ lib }:
label:
let
  inherit (lib) mkOption types;
in
types.submodule (
  { name, ... }:
  {
    options = {
      enable = mkOption {
        type = types.bool;
        default = true;
      };
      target = mkOption {
        type = types.str;
        default = name;
      };
      text = mkOption {
        type = types.nullOr types.lines;
        default = null;
      };
      source = mkOption {
        type = types.nullOr types.path;
        default = null;
      };
      mode = mkOption {
        type = types.strMatching "symlink|direct-symlink|[0-7]{3,4}";
        default = "symlink";
      };
      user = mkOption {
        type = types.str;
        default = "root";
      };
      group = mkOption {
        type = types.str;
        default = "root";
      };
      uid = mkOption {
        type = types.int;
        default = 0;
      };
      gid = mkOption {
        type = types.int;
        default = 0;
      };
    };
  }
)
