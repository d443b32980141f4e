# Roles as NixOS systems on one shared set of packages: { outcomes, configs }, each by role.
{
  tree,
  system,
  overlays ? [ ],
}:
{
  # role -> module
  roles,
  # role -> the role to evaluate for it
  templates,
  modules,
}:
let
  # By a module, not by eval-config's own `pkgs': that would win over a role's (and in 20.09 drop its overlays).
  # A role with a configuration or a platform of its own gets packages of its own, with our overlays before its own.
  sharing =
    { options, lib, ... }:
    let
      # 1500 is an option's own default, 1000 what eval-config says by mkDefault.
      isLeft = name: priority: (options.nixpkgs.${name}.highestPrio or priority) >= priority;
      isShared =
        isLeft "config" 1500
        && isLeft "hostPlatform" 1500
        && isLeft "localSystem" 1500
        && isLeft "crossSystem" 1500
        && isLeft "system" 1000;
    in
    {
      _file = "nxc, the shared set of packages";
      config.nixpkgs = {
        pkgs = lib.mkIf isShared (lib.mkDefault tree.pkgs);
        overlays = lib.mkIf (!isShared) (lib.mkBefore overlays);
      };
    };

  evaluate =
    role:
    tree.evalSystem {
      inherit system;
      modules = [
        role
        sharing
      ]
      ++ modules;
    };

  # A derivation without what it was made of.
  plain = derivation: {
    type = "derivation";
    inherit (derivation)
      name
      drvPath
      outPath
      outputName
      ;
  };

  # What is kept of a system. Forced at once, so that the system itself, a hundred megabytes, need not stay in memory.
  outcomeOf =
    role:
    let
      inherit (evaluate role) config;
      inherit (config.system) build;
      boots = !config.boot.isContainer && config.boot.kernel.enable or true;
      outcome = {
        parts = {
          toplevel = plain build.toplevel;
          kernel = if boots then plain build.kernel else null;
          initrd = if boots then plain build.initialRamdisk else null;
        };
        inherit (config.nxc) container needs;
      };
    in
    builtins.deepSeq outcome outcome;

  # Roles that are one system have one outcome.
  shared = set: builtins.mapAttrs (role: _: set.${templates.${role}}) roles;
in
{
  outcomes = shared (builtins.mapAttrs (_: outcomeOf) roles);
  # For a test script that asks; evaluated anew.
  configs = shared (builtins.mapAttrs (_: role: (evaluate role).config) roles);
}
