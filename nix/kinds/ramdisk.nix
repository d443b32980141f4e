# Everything in memory: an initrd that holds one squashfs of the stores of all roles.
{ lib }:
let
  boot = import ./parts/boot.nix { inherit lib; };
  store = import ./parts/store.nix { inherit lib; };
in
{
  module = store.inMemory {
    modules = [
      "loop"
      "squashfs"
    ];
    # Scripted stage 1 takes an absolute path for one below the new root.
    readOnly = bySystemd: {
      device = if bySystemd then "/nix-store.squashfs" else "../nix-store.squashfs";
      fsType = "squashfs";
      options = [ "loop" ];
    };
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
      squashfs =
        pkgs.runCommand "${name}-store.squashfs" { nativeBuildInputs = [ pkgs.squashfsTools ]; }
          ''
            export SOURCE_DATE_EPOCH=1
            cp ${closure}/registration nix-path-registration
            chmod 444 nix-path-registration
            touch -d @1 nix-path-registration
            mksquashfs nix-path-registration $(cat ${closure}/store-paths) $out -keep-as-directory -all-root \
              -no-xattrs -b 1M -comp zstd -Xcompression-level 6 -no-progress
          '';
    in
    {
      boot = boot.images {
        inherit
          pkgs
          roles
          name
          ;
        contents."nix-store.squashfs" = squashfs;
      };
      roles = boot.describe roles;
      files = { };
    };
}
