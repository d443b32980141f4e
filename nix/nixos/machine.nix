# What compositions written for other launchers say of the machine itself: accepted, with a warning.
# No default and no type, so that a role may import nixpkgs' own module of a virtual machine, which declares them too.
{ lib, options, ... }:
let
  names = [
    "cores"
    "diskSize"
    "emptyDiskImages"
    "graphics"
    "memorySize"
    "vlans"
    "writableStore"
  ];
  isIdle =
    name:
    let
      option = options.virtualisation.${name};
    in
    option.isDefined && builtins.length option.declarations == 1;
in
{
  options.virtualisation = lib.genAttrs names (_: lib.mkOption { internal = true; });
  config.warnings = map (
    name: "nxc: virtualisation.${name} has no effect: the options of the flavour say it"
  ) (builtins.filter isIdle names);
}
