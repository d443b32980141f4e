# What a role asks of the engine that runs it as a container. It is in no image: another port builds nothing.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  inherit (import ../container.nix { inherit lib; }) patterns spellings;
  spelled = what: types.strMatching patterns.${what} // { description = spellings.${what}; };
  cfg = config.nxc.container;
in
{
  options.nxc.container = {
    ports = mkOption {
      type = types.listOf (types.coercedTo types.int toString (spelled "port"));
      default = [ ];
      example = [
        "8443:443"
        "127.0.0.1:5353:53/udp"
      ];
      description = "Ports of a container that its machine passes on, spelled as docker does: HOST:CONTAINER, or CONTAINER for a free one of the machine's.";
    };
    volumes = mkOption {
      type = types.listOf (spelled "volume");
      default = [ ];
      example = [
        "/data:/data:ro"
        "cache:/var/cache/experiment"
      ];
      description = "Folders of the machine, or named volumes of the engine, in a container: SOURCE:TARGET, with :ro to be read only.";
    };
    memory = mkOption {
      type = types.nullOr (spelled "memory");
      default = null;
      example = "512m";
      description = "How much memory a container may use.";
    };
    cpus = mkOption {
      type = types.nullOr (
        types.addCheck (types.either types.int types.float) (value: value > 0)
        // {
          description = "number above 0";
        }
      );
      default = null;
      example = 1.5;
      description = "How many processors a container may keep busy.";
    };
    pids = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      example = 500;
      description = "How many processes and threads a container may have.";
    };
    sysctls = mkOption {
      type = types.attrsOf types.str;
      readOnly = true;
      internal = true;
      description = "Kernel settings of boot.kernel.sysctl that every container has of its own.";
    };
  };

  config.assertions = map (volume: {
    # A path of the store is no folder of the machine that runs containers.
    assertion = !builtins.hasContext volume;
    message = "nxc.container.volumes: ${builtins.unsafeDiscardStringContext volume}: a volume cannot be a path of the Nix store; for a folder of the project write \"\${toString ./data}:/data\"";
  }) cfg.volumes;
}
