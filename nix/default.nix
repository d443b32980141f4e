# The Nix side of nxc: `import <nxc> { }` gives its parts. With a nixpkgs, compose needs no flake:
#   (import <nxc> { nixpkgs = <nixpkgs>; }).compose { composition = ./composition.nix; }
{
  lib ? import ./lib,
  # What compose's callers need not say again; `pkgs', `evalSystem' and `lib' stand in for nixpkgs' own.
  nixpkgs ? null,
  pkgs ? null,
  evalSystem ? null,
  system ? builtins.currentSystem or "x86_64-linux",
}@given:
let
  catalogue = import ./catalogue.nix { inherit lib; };
in
{
  inherit lib;
  # What a composition file says, checked and brought into one form.
  readComposition = import ./composition.nix { inherit lib; };
  # The Debian base: the stand-in for pkgs, and roles as documents that its builder understands.
  debian = import ./debian { inherit lib; };

  # The NixOS base: packages named <composition>::<flavour>.
  compose = import ./compose.nix { defaults = given; };
  # What a setup.toml says, and the overlays that it asks for.
  setup =
    file:
    {
      lib ? given.lib or (import ./lib),
      ...
    }:
    let
      read = import ./setup.nix { inherit lib; } { inherit file; };
    in
    read.values // { inherit (read) overlays; };
  nur = import ./nur.nix;
  # flavour -> { kind, guest, ... }
  flavours = catalogue.all;
  # flavour -> { kind, guest } as the plugins of this repository state it
  guests = builtins.fromJSON (builtins.readFile ./guests.json);
}
// import ./helpers.nix
