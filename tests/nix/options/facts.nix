# What nxc's own options make of the roles of a composition: on the Debian base, or on the NixOS of a nixpkgs.
{
  composition,
  nixpkgs ? null,
  system ? "x86_64-linux",
}:
let
  top = ../../../nix;
  inherit (import top { }) lib debian readComposition;

  factsOf = config: {
    inherit (config) warnings;
    inherit (config.nxc) container needs;
    refusals = map (item: item.message) (lib.filter (item: !item.assertion) config.assertions);
    users = builtins.mapAttrs (_: user: {
      inherit (user) uid home createHome;
    }) (lib.filterAttrs (_: user: user.isNormalUser) config.users.users);
    exports = if config.services.nfs.server.enable then config.services.nfs.server.exports else null;
    ports = config.networking.firewall.allowedTCPPorts;
    mounts = builtins.mapAttrs (_: fs: {
      inherit (fs) device fsType options;
    }) config.fileSystems;
    tmpfiles = config.systemd.tmpfiles.rules;
    units = builtins.mapAttrs (_: unit: {
      inherit (unit)
        after
        before
        requiredBy
        wantedBy
        script
        ;
    }) (lib.filterAttrs (name: _: lib.hasPrefix "nxc-" name) config.systemd.services);
  };

  read = readComposition {
    inherit composition;
    arguments = { inherit lib; };
  };
  onDebian =
    name: role:
    (debian.evalRole {
      inherit name role;
      pkgs = debian.makePkgs { inherit system; };
      nodes = { };
    }).config;
  onNixos =
    _: role:
    (import (nixpkgs + "/nixos/lib/eval-config.nix") {
      inherit system;
      modules = [
        role
        (top + "/nixos/options.nix")
        (top + "/nixos/guest.nix")
      ];
    }).config;
in
builtins.mapAttrs (name: role: factsOf ((if nixpkgs == null then onDebian else onNixos) name role)) read.roles
