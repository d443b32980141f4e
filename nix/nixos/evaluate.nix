# Roles as NixOS systems on one shared set of packages: { role = { config, options, ... } }.
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
  evaluated = builtins.mapAttrs (_: evaluate) roles;
in
builtins.mapAttrs (name: _: evaluated.${templates.${name}}) roles
