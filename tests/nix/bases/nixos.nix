# What each role of some examples declares on NixOS, beyond what a role that says nothing has. tests/unit/test_bases.py
# compares it with the documents of the Debian base; recorded in nixos-20.09.json by ./record, since CI has no nixpkgs.
{
  # A tree of nixpkgs.
  nixpkgs,
  # name -> path of a composition
  compositions,
  system ? "x86_64-linux",
}:
let
  pkgs = import nixpkgs {
    inherit system;
    config = { };
    overlays = [ ];
  };
  inherit (pkgs) lib;
  top = ../../../nix;
  readComposition = import (top + "/composition.nix") { inherit lib; };

  evaluate =
    role:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      inherit system;
      modules = [
        role
        (top + "/nixos/options.nix")
        (
          { lib, ... }:
          {
            nixpkgs.pkgs = lib.mkDefault pkgs;
            # As flavours have it.
            networking.firewall.enable = lib.mkDefault false;
            documentation.enable = lib.mkDefault false;
          }
        )
      ];
    };

  lines = lib.splitString "\n";
  declared =
    { config, options, ... }:
    {
      # What the role itself names; services bring more.
      commands = map (package: package.pname or (builtins.parseDrvName package.name).name) (
        lib.concatLists (
          lib.zipListsWith (file: packages: lib.optionals (lib.hasInfix ", role `" (toString file)) packages)
            options.environment.systemPackages.files
            options.environment.systemPackages.definitions
        )
      );
      exports = lines config.services.nfs.server.exports;
      files = lib.mapAttrsToList (
        _: file:
        if file.text == null || lib.hasInfix "/nix/store/" file.text then
          file.target
        else
          "${file.target}: ${file.text}"
      ) (lib.filterAttrs (_: file: file.enable && file.target != "fstab") config.environment.etc);
      mounts = map (fs: "${fs.device} ${fs.mountPoint} ${fs.fsType}") (
        builtins.attrValues config.fileSystems
      );
      ports = lib.optionals config.networking.firewall.enable (
        map (port: "tcp ${toString port}") config.networking.firewall.allowedTCPPorts
        ++ map (port: "udp ${toString port}") config.networking.firewall.allowedUDPPorts
      );
      # What sockets, timers and path units say.
      starters = lib.concatLists (
        lib.mapAttrsToList (
          name: unit: map (line: "${name} ${line}") (lib.filter (lib.hasInfix "=") (lines unit.text))
        ) (lib.filterAttrs (name: unit: unit.enable && builtins.match ".*\\.(socket|timer|path)" name != null) config.systemd.units)
      );
      refusals = map (item: item.message) (lib.filter (item: !item.assertion) config.assertions);
      tmpfiles = config.systemd.tmpfiles.rules;
      units = builtins.attrNames (
        lib.filterAttrs (
          _: unit: unit.enable && unit.wantedBy ++ unit.requiredBy != [ ]
        ) config.systemd.units
      );
      users = lib.mapAttrsToList (
        _: user:
        lib.concatStringsSep " " [
          user.name
          (toString user.uid)
          user.group
          user.home
          (if user.createHome then "made" else "not made")
        ]
      ) config.users.users;
    };

  plain = declared (evaluate { });
  beyond = builtins.mapAttrs (
    kind: found:
    lib.sort (a: b: a < b) (
      lib.unique (lib.filter (item: item != "") (lib.subtractLists plain.${kind} found))
    )
  );

  ofComposition =
    composition:
    builtins.mapAttrs (_: role: beyond (declared (evaluate role)))
      (readComposition {
        inherit composition;
        arguments = { inherit pkgs lib; };
      }).roles;
in
builtins.mapAttrs (_: ofComposition) compositions
