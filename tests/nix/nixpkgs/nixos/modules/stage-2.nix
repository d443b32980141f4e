# What `init=` starts: /etc is put there, the role's own commands run, then systemd takes over.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  script =
    value: if builtins.isString value then value else value.text or "";
in
{
  options = {
    system.activationScripts = mkOption {
      type = types.attrsOf (types.either types.str types.attrs);
      default = { };
    };
    standIn.stage2Commands = mkOption {
      type = types.lines;
      default = "";
    };
  };
  config.system.build = {
    activation = pkgs.writeScript "activate" (
      "#!/bin/sh\nPATH=/run/current-system/sw/bin:/bin:/usr/bin:/usr/sbin\n"
      + lib.concatMapStrings (value: "${script value}\n") (
        lib.attrValues config.system.activationScripts
      )
    );
    bootStage2 = pkgs.writeScript "stage-2-init.sh" (
      builtins.replaceStrings
        [
          "@shell@"
          "@machine@"
          "@commands@"
          "@postBoot@"
        ]
        [
          "${pkgs.stage2Shell}"
          "${pkgs.debianMachine}"
          config.standIn.stage2Commands
          "${pkgs.writeShellScript "local-cmds" config.boot.postBootCommands}"
        ]
        (builtins.readFile ./stage-2.sh)
    );
  };
}
