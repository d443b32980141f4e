# The flake's outputs, for ../flake.nix and ./flake.nix.
{
  self,
  nixpkgs,
  # A folder of compositions, each to be had as a template.
  examples ? null,
  # Where the tool's own source is.
  source ? null,
  ...
}:
let
  inherit (nixpkgs) lib;
  nxc = import ./. { };
  forSystems = lib.genAttrs [
    "x86_64-linux"
    "aarch64-linux"
  ];
  pkgsOf = system: nixpkgs.legacyPackages.${system};

  names = lib.filter (name: builtins.pathExists (examples + "/${name}/composition.nix")) (
    builtins.attrNames (builtins.readDir examples)
  );
  # What a README says first, its title aside.
  summary =
    readme:
    let
      paragraph = builtins.elemAt (lib.splitString "\n\n" (builtins.readFile readme)) 1;
      sentences = lib.splitString ". " (builtins.replaceStrings [ "\n" ] [ " " ] paragraph);
    in
    lib.removeSuffix "." (builtins.head sentences);

  tool = system: import ./tool.nix { inherit lib source; } (pkgsOf system);

  # The tool where it can be built, and of these programs those that this nixpkgs has.
  shellWith =
    system: programs:
    let
      pkgs = pkgsOf system;
    in
    pkgs.mkShell {
      buildInputs =
        lib.optional (tool system ? default) (tool system).default
        ++ map (name: pkgs.${name}) (lib.filter (name: pkgs ? ${name}) programs);
    };
  shellsOf =
    system:
    let
      nxcShell = shellWith system [
        "openssh"
        "qemu_kvm"
        "squashfsTools"
        "tmux"
      ];
    in
    {
      inherit nxcShell;
      nxcShellFull = nxcShell;
      nxcShellLite = shellWith system [ "tmux" ];
      default = nxcShell;
    };

  # Evaluates; what it builds is a list of what would be built.
  evaluation =
    system: arguments:
    let
      derivations = builtins.mapAttrs (_: package: builtins.unsafeDiscardStringContext package.drvPath) (
        nxc.compose ({ inherit nixpkgs system; } // arguments)
      );
    in
    (pkgsOf system).writeText "nxc-evaluation.json" (builtins.toJSON derivations);
in
{
  lib = {
    inherit (nxc)
      compose
      flavours
      guests
      makeMany
      makeManyById
      mapAttrNamesToAttrs
      mapAttrsToAttrs
      mapListToAttrs
      nur
      setup
      ;
  };

  templates = {
    default = self.templates.nixos;
    nixos = {
      path = ./template;
      description = "Two machines on NixOS, from a pinned nixpkgs";
    };
  }
  // lib.optionalAttrs (examples != null) (
    lib.genAttrs names (name: {
      path = examples + "/${name}";
      description = summary (examples + "/${name}/README.md");
    })
  );

  packages = forSystems (system: tool system);
  devShells = forSystems shellsOf;
  checks = forSystems (
    system:
    {
      template = evaluation system { composition = ./template/composition.nix; };
    }
    // lib.optionalAttrs (examples != null) {
      examples = evaluation system {
        compositions = lib.genAttrs names (name: examples + "/${name}/composition.nix");
        # One with a kernel, one without.
        flavours = [
          "docker"
          "vm-ramdisk"
        ];
      };
    }
  );

  overlay = final: _: tool final.stdenv.hostPlatform.system;
  overlays.default = self.overlay;

  # Where flakes of upstream's users look for the tool.
  defaultPackage = builtins.mapAttrs (_: packages: packages.default) (
    lib.filterAttrs (_: packages: packages ? default) self.packages
  );
}
