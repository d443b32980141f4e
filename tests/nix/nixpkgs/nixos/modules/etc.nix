# /etc, the system path and the shell's environment.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  file =
    { name, config, ... }:
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
        source = mkOption { type = types.path; };
        mode = mkOption {
          type = types.str;
          default = "symlink";
        };
        uid = mkOption {
          type = types.int;
          default = 0;
        };
        gid = mkOption {
          type = types.int;
          default = 0;
        };
        user = mkOption {
          type = types.str;
          default = "+${toString config.uid}";
        };
        group = mkOption {
          type = types.str;
          default = "+${toString config.gid}";
        };
      };
      config.source = lib.mkIf (config.text != null) (
        lib.mkDefault (pkgs.writeText "etc-${baseNameOf name}" config.text)
      );
    };
  files = lib.filter (file: file.enable) (lib.attrValues config.environment.etc);
  place =
    file:
    let
      target = lib.escapeShellArg file.target;
    in
    ''
      mkdir -p "$(dirname $out/etc/${target})"
      ln -s ${file.source} $out/etc/${target}
    ''
    + lib.optionalString (file.mode != "symlink") ''
      printf '%s\n' ${file.mode} > $out/etc/${target}.mode
    '';
  variables = lib.mapAttrsToList (
    name: value: "export ${name}=${lib.escapeShellArg (toString value)}\n"
  );
in
{
  options = {
    environment = {
      etc = mkOption {
        type = types.attrsOf (types.submodule file);
        default = { };
      };
      systemPackages = mkOption {
        type = types.listOf types.package;
        default = [ ];
      };
      variables = mkOption {
        type = types.attrsOf (types.either types.str (types.listOf types.str));
        default = { };
      };
      pathsToLink = mkOption {
        type = types.listOf types.str;
        default = [ "/bin" ];
      };
      noXlibs = mkOption {
        type = types.bool;
        default = false;
      };
    };
    documentation = lib.genAttrs [ "doc" "info" "man" "nixos" ] (_: {
      enable = mkOption {
        type = types.bool;
        default = true;
      };
    }) // {
      enable = mkOption {
        type = types.bool;
        default = true;
      };
    };
    system.path = mkOption {
      type = types.package;
      default = pkgs.symlinkJoin {
        name = "system-path";
        paths = config.environment.systemPackages;
      };
    };
  };
  config = {
    environment.systemPackages = [
      config.systemd.package
      pkgs.bash
      pkgs.coreutils
      pkgs.findutils
      pkgs.gawk
      pkgs.getent
      pkgs.gnugrep
      pkgs.gnused
      pkgs.gnutar
      pkgs.gzip
      pkgs.hostname
      pkgs.iproute2
      pkgs.kmod
      pkgs.util-linux
    ]
    ++ lib.optional config.nix.enable config.nix.package
    ++ lib.optional config.documentation.nixos.enable (
      pkgs.writeTextDir "share/doc/nixos.html" "A manual."
    );
    environment.etc."set-environment".text =
      "export PATH=/run/wrappers/bin:/run/current-system/sw/bin:$PATH\n"
      + lib.concatStrings (variables config.environment.variables);
    environment.etc.profile.text = ". /etc/set-environment\n";
    system.build.etc = pkgs.runCommand "etc" { } (
      "mkdir -p $out/etc\n" + lib.concatMapStrings place files
    );
  };
}
