# The package set: made here, or given (`nixpkgs.pkgs`), in which case there is nothing to configure.
{
  config,
  options,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.nixpkgs;
  system = if cfg.hostPlatform != null then cfg.hostPlatform.system or cfg.hostPlatform else cfg.system;
  made = import ../.. {
    inherit system;
    inherit (cfg) config overlays;
  };
in
{
  options.nixpkgs = {
    pkgs = mkOption {
      type = types.raw or types.unspecified;
      default = made;
    };
    config = mkOption {
      type = types.attrsOf (types.raw or types.unspecified);
      default = { };
    };
    overlays = mkOption {
      type = types.listOf (types.raw or types.unspecified);
      default = [ ];
    };
    system = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    localSystem = mkOption {
      type = types.attrs;
      default = { inherit (cfg) system; };
    };
    hostPlatform = mkOption {
      type = types.nullOr (types.raw or types.unspecified);
      default = null;
    };
  };
  config = {
    _module.args.pkgs =
      if options.nixpkgs.pkgs.isDefined && options.nixpkgs.pkgs.highestPrio < 1500 then
        cfg.pkgs.appendOverlays cfg.overlays
      else
        made;
    assertions = [
      {
        assertion =
          !(options.nixpkgs.pkgs.highestPrio < 1500 && options.nixpkgs.config.highestPrio < 1500);
        message = "nixpkgs.config has no effect on packages that were made elsewhere (nixpkgs.pkgs).";
      }
    ];
  };
}
