# What writes files and scripts, by the kind of derivation that it must give.
{ pkgs, lib, ... }:
let
  kinds = {
    text = [
      (pkgs.writeText "n" "t")
      (pkgs.writeTextFile {
        name = "n";
        text = "t";
        destination = "/share/x";
      })
      (pkgs.writeTextDir "share/x" "t")
      (pkgs.writeScript "n" "t")
      (pkgs.writeScriptBin "n" "t")
      (pkgs.writeShellScript "n" "t")
      (pkgs.writeShellApplication {
        name = "n";
        runtimeInputs = [ pkgs.jq ];
        text = "t";
      })
      (pkgs.writers.writeBash "n" "t")
      (pkgs.writers.writeBashBin "n" { } "t")
      (pkgs.writers.writePython3 "n" { } "t")
      (pkgs.writers.writePython3Bin "n" {
        libraries = [ pkgs.python3Packages.numpy ];
        flakeIgnore = [ "E501" ];
      } "t")
      ((pkgs.formats.json { }).generate "n" { a = 1; })
      ((pkgs.formats.yaml { }).generate "n" { a = 2; })
      ((pkgs.formats.toml { }).generate "n" {
        a.b = [ 1 ];
        c = true;
      })
      ((pkgs.formats.ini { }).generate "n" { a.b = 1; })
      ((pkgs.formats.keyValue { }).generate "n" { a = 1; })
      (pkgs.callPackage (
        {
          writeText,
          jq,
          word,
        }:
        writeText "n" "${jq} ${word}"
      ) { word = "w"; })
    ];
    command = [
      (pkgs.runCommand "n" {
        nativeBuildInputs = [ pkgs.jq ];
        A = "b";
        passthru.x = 1;
      } "jq > $out")
      (pkgs.runCommandLocal "n" { } "touch $out")
      (pkgs.linkFarm "n" [
        {
          name = "x/y";
          path = pkgs.jq;
        }
      ])
      (pkgs.linkFarm "n" { x = pkgs.jq; })
    ];
    join = [
      (pkgs.symlinkJoin {
        name = "n";
        paths = [
          pkgs.jq
          pkgs.curl
        ];
        postBuild = "rm $out/bin/jq";
      })
      (pkgs.buildEnv {
        name = "n";
        paths = [ pkgs.jq ];
        pathsToLink = [ "/bin" ];
      })
    ];
  };
in
{
  roles = builtins.mapAttrs (_: drvs: { environment.systemPackages = drvs; }) kinds;
}
