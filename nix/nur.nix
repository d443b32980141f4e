# The Nix User Repositories: `nxc.lib.nur { inherit nixpkgs system NUR; repoOverrides = { inherit alice; }; }' gives
#   overlay   pkgs.nur.repos.<repository>.<package>
#   repos     <repository>.modules.<name>, for `imports': they must not come from the pkgs that they configure.
{
  NUR,
  nixpkgs ? null,
  system ? builtins.currentSystem or "x86_64-linux",
  pkgs ? import nixpkgs { inherit system; },
  repoOverrides ? { },
}:
let
  nurWith =
    packages:
    import NUR {
      nurpkgs = packages;
      pkgs = packages;
      repoOverrides = builtins.mapAttrs (_: repository: import repository { pkgs = packages; }) repoOverrides;
    };
in
{
  overlay = _: previous: { nur = nurWith previous; };
  inherit (nurWith pkgs) repos;
}
