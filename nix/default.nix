# The Nix side of nxc: `import <nxc> { }` gives its parts.
{
  lib ? import ./lib,
}:
{
  inherit lib;
  # What a composition file says, checked and brought into one form.
  readComposition = import ./composition.nix { inherit lib; };
  # The Debian base: the stand-in for pkgs, and roles as documents that its builder understands.
  debian = import ./debian { inherit lib; };
}
