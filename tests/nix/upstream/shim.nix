# What compositions of 2023 ask for and an older tree lacks, given as any user could: { overlays, extraConfigurations }.
# Each part is there only where the tree lacks it; a tree that has all gets nothing.
nixpkgs:
let
  file = name: toString nixpkgs + "/" + name;
  has = name: builtins.pathExists (file name);
  says = name: word: has name && builtins.length (builtins.split word (builtins.readFile (file name))) > 1;
  unless = condition: value: if condition then [ ] else [ value ];

  fromNames =
    names: valueOf:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = valueOf name;
      }) names
    );

  # Today's names of packages.
  renamed = {
    util-linux = "utillinux";
    iproute2 = "iproute";
    kexec-tools = "kexectools";
  };
  names =
    _: prev:
    fromNames (builtins.filter (name: !(prev ? ${name})) (builtins.attrNames renamed)) (
      name: prev.${renamed.${name}}
    );

  kernels = _: prev: {
    linuxKernel.packages = fromNames [ "linux_4_19" "linux_5_4" ] (
      name: prev.${builtins.replaceStrings [ "linux_" ] [ "linuxPackages_" ] name}
    );
  };

  copyToRoot = _: prev: {
    dockerTools = prev.dockerTools // {
      buildImage =
        image:
        prev.dockerTools.buildImage (removeAttrs image [ "copyToRoot" ] // { contents = image.copyToRoot or null; });
    };
  };

  # A mirror may lack the file of Haskell's packages (it is larger than others); openmpi's man pages ask for pandoc.
  noHaskell = _: prev: { pandoc = prev.runCommand "pandoc" { } "mkdir -p $out/bin"; };

  getty =
    { config, lib, ... }:
    {
      options.services.getty = {
        autologinUser = lib.mkOption {
          type = lib.types.nullOr lib.types.str;
          default = null;
        };
        helpLine = lib.mkOption {
          type = lib.types.lines;
          default = "";
        };
      };
      config.services.mingetty = { inherit (config.services.getty) autologinUser helpLine; };
    };

  declare =
    path: type: default:
    { lib, ... }:
    {
      options = lib.setAttrByPath path (lib.mkOption {
        inherit default;
        type = type lib.types;
      });
    };
in
{
  overlays =
    unless (says "pkgs/top-level/all-packages.nix" "\n  util-linux = ") names
    ++ unless (has "pkgs/top-level/linux-kernels.nix") kernels
    ++ unless (says "pkgs/build-support/docker/default.nix" "copyToRoot") copyToRoot
    ++ unless (has "pkgs/development/haskell-modules/hackage-packages.nix") noHaskell;

  extraConfigurations =
    unless (has "nixos/modules/services/ttys/getty.nix") getty
    ++ unless (has "nixos/modules/config/nix.nix" || says "nixos/modules/services/misc/nix-daemon.nix" "settings = mkOption") (
      declare [ "nix" "settings" ] (types: types.attrsOf types.unspecified) { }
    )
    ++ unless (says "nixos/modules/system/boot/initrd-network.nix" "udhcpc.enable") (
      declare [ "boot" "initrd" "network" "udhcpc" "enable" ] (types: types.bool) true
    )
    ++ unless (says "nixos/modules/services/networking/ssh/sshd.nix" "settings = mkOption") (
      declare [ "services" "openssh" "settings" ] (types: types.attrsOf types.unspecified) { }
    );
}
