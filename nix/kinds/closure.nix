# Guests that use the host's own store: mounted by a virtual machine, bound into a container.
{ lib }:
let
  boot = import ./parts/boot.nix { inherit lib; };
  store = import ./parts/store.nix { inherit lib; };
  tag = "nix-store";
  mountOptions = {
    "9p" = [
      "trans=virtio"
      "version=9p2000.L"
      "msize=131072"
      "cache=loose"
    ];
    virtiofs = [ "ro" ];
  };
  modules = {
    "9p" = [
      "9p"
      "9pnet_virtio"
    ];
    virtiofs = [ "virtiofs" ];
  };
in
{
  module =
    {
      config,
      lib,
      options,
      ...
    }@arguments:
    let
      inherit (config.nxc.guest) kernel share;
      # Without a share the assertion says so; the rest must still evaluate up to it.
      how = if share == null then "9p" else share;
      shared = store.inMemory {
        modules = modules.${how};
        readOnly = _: {
          device = tag;
          fsType = how;
          options = mountOptions.${how};
        };
      };
    in
    {
      config = lib.mkMerge [
        {
          assertions = [
            {
              assertion = !kernel || share != null;
              message = "nxc: a guest of kind `closure' with a kernel needs `share', how it reaches the host's store: 9p or virtiofs";
            }
          ];
        }
        (lib.mkIf kernel (shared arguments).config)
      ];
    };

  image =
    {
      pkgs,
      roles,
      guest,
      name,
    }:
    let
      closure = pkgs.closureInfo { rootPaths = store.toplevels roles; };
    in
    {
      boot = boot.images {
        inherit
          pkgs
          roles
          name
          ;
      };
      roles = boot.describe roles;
      files.registration = "${closure}/registration";
    };
}
