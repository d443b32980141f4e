# Stands for the input `nxc' of a flake whose nixpkgs is older than what it asks for: the library, with the shim.
# Whoever uses it says where the library is: --override-input nxc/library path:...
{
  description = "nxc, with what an older nixpkgs lacks";
  inputs.library.url = "nxc";
  outputs = { self, library }: import ./. library;
}
