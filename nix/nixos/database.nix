# A valid Nix database, from the registration that came with the store.
{ config, lib, ... }:
let
  done = "/nix/var/nix/nxc-registered";
in
{
  # Old releases have no nix.enable: there every system has Nix.
  config = lib.mkIf (config.nix.enable or true) {
    systemd.services.nxc-database = {
      description = "nxc: fill the Nix database";
      wantedBy = [ "multi-user.target" ];
      before = [ "nix-daemon.service" ];
      restartIfChanged = lib.mkDefault false;
      path = [ config.nix.package ];
      unitConfig.ConditionPathExists = "!${done}";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      };
      # A container sees the kernel command line of another system.
      script = ''
        ${lib.optionalString config.boot.isContainer ''
          if [ ! -w /nix/store ]; then
            echo 'the store is another system'"'"'s here, to read only; Nix itself cannot be used'
            exit 0
          fi
        ''}${lib.optionalString (!config.boot.isContainer) ''
          read -r words </proc/cmdline || :
          for word in $words; do
            case $word in nxc.registration=*) named=''${word#*=} ;; esac
          done
        ''}
        for file in /nxc/registration "''${named-}" /nix/store/nix-path-registration; do
          [ -r "$file" ] || continue
          nix-store --load-db <"$file"
          nix-env --profile /nix/var/nix/profiles/system --set "$(readlink -f /run/current-system)"
          : >${done}
          exit 0
        done
        echo 'no registration came with the store; the Nix database stays empty' >&2
      '';
    };
  };
}
