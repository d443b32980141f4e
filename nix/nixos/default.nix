# The modules that every role of a composition has, whatever its kind.
{
  imports = [
    ./guest.nix
    ./machine.nix
    ./node.nix
    ./options.nix
  ];
}
