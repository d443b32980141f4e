# The whole system in one folder, with the names that NixOS gives its parts.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  failed = map (entry: entry.message) (lib.filter (entry: !entry.assertion) config.assertions);
  inherit (config.system.boot) loader;
  ifMachine = lib.optionalString (!config.boot.isContainer);
  toplevel =
    pkgs.runCommand "nixos-system-${config.system.name}-${config.system.nixos.label}"
      {
        kernelParams = config.boot.kernelParams;
        preferLocalBuild = true;
        allowSubstitutes = false;
      }
      ''
        mkdir $out
        ${ifMachine ''
          kernel=${config.system.build.kernel}/${loader.kernelFile}
          [ -f $kernel ] || { echo "there is no kernel $kernel"; false; }
          ln -s $kernel $out/kernel
          ln -s ${config.system.modulesTree} $out/kernel-modules
          printf %s "$kernelParams" > $out/kernel-params
          ln -s ${config.system.build.initialRamdisk}/${loader.initrdFile} $out/initrd
        ''}
        cp ${config.system.build.activation} $out/activate
        cp ${config.system.build.bootStage2} $out/init
        chmod u+w $out/init
        substituteInPlace $out/init --subst-var-by systemConfig $out
        chmod 0555 $out/init $out/activate
        ln -s ${config.system.build.etc}/etc $out/etc
        ln -s ${config.system.path} $out/sw
        ln -s ${config.systemd.package} $out/systemd
        printf %s "${config.system.nixos.label}" > $out/nixos-version
        printf %s "${pkgs.stdenv.hostPlatform.system}" > $out/system
        ${config.system.extraSystemBuilderCmds}
      '';
in
{
  options = {
    assertions = mkOption {
      type = types.listOf (types.raw or types.unspecified);
      default = [ ];
    };
    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    system = {
      build = mkOption {
        type = types.lazyAttrsOf (types.raw or types.unspecified);
        default = { };
      };
      name = mkOption {
        type = types.str;
        default = if config.networking.hostName == "" then "unnamed" else config.networking.hostName;
      };
      nixos = {
        label = mkOption {
          type = types.str;
          default = config.system.nixos.version;
        };
        version = mkOption {
          type = types.str;
          default = "23.05.stand-in";
        };
        release = mkOption {
          type = types.str;
          default = "23.05";
        };
      };
      extraSystemBuilderCmds = mkOption {
        type = types.lines;
        default = "";
      };
      extraDependencies = mkOption {
        type = types.listOf types.package;
        default = [ ];
      };
    };
  };
  config.system.build.toplevel =
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
    else
      lib.foldr lib.warn toplevel config.warnings;
}
