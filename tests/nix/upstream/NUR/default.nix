# A stand-in for the Nix User Repositories: it has only what is given by `repoOverrides'.
{
  pkgs ? null,
  nurpkgs ? pkgs,
  repoOverrides ? { },
}:
{
  repos = repoOverrides;
}
