# Commands run while a machine starts.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.nxc;
  commands = lib.filter (text: text != "") [
    cfg.sharedDirsBootCommands
    cfg.postBootCommands
  ];
in
{
  options.nxc = {
    postBootCommands = mkOption {
      type = types.lines;
      default = "";
      example = "touch /etc/foo";
      description = "Shell commands run before all other services start, when the machine has its name; one that fails stops nothing.";
    };
    sharedDirsBootCommands = mkOption {
      type = types.lines;
      default = "";
      description = "Shell commands run before nxc.postBootCommands.";
    };
  };

  config.systemd.services.nxc-post-boot = lib.mkIf (commands != [ ]) {
    description = "Commands of nxc.postBootCommands";
    wantedBy = [ "sysinit.target" ];
    before = [
      "sysinit.target"
      "shutdown.target"
    ];
    conflicts = [ "shutdown.target" ];
    after = [
      "local-fs.target"
      "nxc-node.service"
      "nxc-shared-dirs.service"
      "systemd-tmpfiles-setup.service"
    ];
    unitConfig.DefaultDependencies = false;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
    # Bases begin a script with `set -e`.
    script = lib.concatStringsSep "\n" ([ "set +e" ] ++ commands);
  };
}
