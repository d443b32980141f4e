# The modules that every role of a composition has, whatever its kind.
{
  imports = [
    ./container.nix
    ./guest.nix
    ./machine.nix
    ./node.nix
    ./options.nix
  ];
}
