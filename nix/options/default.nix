# The options of nxc itself, the same on every base: they are said in portable options, which both bases know.
{
  imports = [
    ./boot.nix
    ./container.nix
    ./needs.nix
    ./shared-dirs.nix
    ./unneeded.nix
    ./users.nix
  ];
}
