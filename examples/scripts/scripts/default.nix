# Bricks of an experiment: small commands that roles install. One may use another by its path.
{ pkgs }:
rec {
  measure = pkgs.writers.writeBashBin "measure" ''
    set -eu
    for i in $(seq "''${1:-1}"); do
      echo "- { run: $i, value: $((i * i)) }"
    done
  '';

  # The same brick and jq arrive with this one, though no role names them.
  experiment = pkgs.writeShellScriptBin "experiment" ''
    set -eu
    ${measure}/bin/measure "$2" > "$1"
    echo '{"done": true}' | ${pkgs.jq}/bin/jq -e .done
  '';

  summarise = pkgs.writers.writePython3Bin "summarise" {
    libraries = [ pkgs.python3Packages.pyyaml ];
  } (builtins.readFile ./summarise.py);
}
