# Stands for the input `nxc' of a flake that is used with a nixpkgs older than the flake: the library, with the shim.
{
  description = "nxc, with what an older nixpkgs lacks";
  inputs.library.url = "nxc"; # whoever uses it says where: --override-input
  outputs = { self, library }: import ./. library;
}
