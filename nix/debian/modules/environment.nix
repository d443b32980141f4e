{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.environment;
  file = import ./file-type.nix { inherit lib; };

  value = types.oneOf [
    types.int
    types.str
    types.path
    (types.listOf (
      types.oneOf [
        types.int
        types.str
        types.path
      ]
    ))
  ];
  # A path becomes one in the store, which the built system has, only inside a string.
  plain = v: if builtins.isPath v then "${v}" else toString v;
  toText = v: if builtins.isList v then lib.concatMapStringsSep ":" plain v else plain v;
  variablesOption =
    description:
    mkOption {
      inherit description;
      type = types.attrsOf (types.nullOr value);
      default = { };
    };
  export = name: v: "export ${name}=\"${toText v}\"\n";
  variables = lib.filterAttrs (_: v: v != null) (cfg.sessionVariables // cfg.variables);
  aliases = lib.filterAttrs (_: v: v != null) cfg.shellAliases;

  isPackage = item: (item.nxcKind or "") == "package";
in
{
  options.environment = {
    systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages whose commands everyone has.";
    };
    etc = mkOption {
      type = types.attrsOf (file "/etc/");
      default = { };
      description = "Files below /etc: text or source, mode, user, group.";
    };
    variables = variablesOption "Variables of every shell; `$X` in a value is expanded.";
    sessionVariables = variablesOption "Variables of every login session.";
    shellAliases = mkOption {
      type = types.attrsOf (types.nullOr (types.either types.str types.path));
      default = { };
      description = "Aliases of interactive shells.";
    };
    shellInit = mkOption {
      type = types.lines;
      default = "";
      description = "Shell code run at the start of every login shell.";
    };
    interactiveShellInit = mkOption {
      type = types.lines;
      default = "";
      description = "Shell code run at the start of every interactive login shell.";
    };
  };

  config = {
    nxc.debian.packages = lib.concatMap (item: item.debianNames) (lib.filter isPackage cfg.systemPackages);

    environment.etc = {
      "profile.d/nxc.sh" = lib.mkIf (variables != { } || cfg.shellInit != "") {
        text = lib.concatStrings (lib.mapAttrsToList export variables) + cfg.shellInit;
      };
      "profile.d/nxc-interactive.sh" = lib.mkIf (aliases != { } || cfg.interactiveShellInit != "") {
        text = ''
          case $- in *i*)
          ${lib.concatStringsSep "\n" (
            lib.mapAttrsToList (name: v: "alias -- ${name}=${lib.escapeShellArg "${v}"}") aliases
          )}
          ${cfg.interactiveShellInit}
          ;; esac
        '';
      };
      # Read by PAM, so that also commands over ssh and services of users have them; PAM expands nothing.
      "environment" = lib.mkIf (cfg.sessionVariables != { }) {
        mode = "0644";
        text = lib.concatStrings (
          lib.mapAttrsToList (name: v: "${name}=\"${toText v}\"\n") (
            lib.filterAttrs (_: v: v != null && !(lib.hasInfix "$" (toText v))) cfg.sessionVariables
          )
        );
      };
    };
  };
}
