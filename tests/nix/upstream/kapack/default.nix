# A stand-in for a repository of packages: the names that upstream's examples ask for.
{ pkgs }:
{
  npb = pkgs.runCommand "npb" { } "mkdir -p $out/bin";
}
