# Stands for the input NUR: called as the real one is, and with two repositories of its own.
{
  nurpkgs,
  pkgs,
  repoOverrides ? { },
}:
{
  repos = {
    alice = {
      tool = pkgs.runCommand "alices-tool" { } "touch $out";
      modules.greeting = {
        environment.etc.greeting.text = "hello from alice";
      };
    };
    bob = {
      tool = pkgs.runCommand "bobs-tool" { } "touch $out";
    };
  }
  // repoOverrides;
}
