# Bricks of the experiment: what nodes run, packaged with the composition.
{ pkgs }:
{
  # What this node is, as JSON.
  describe = pkgs.writeShellScriptBin "describe" ''
    set -eu
    read -r _ kilobytes _ </proc/meminfo
    printf '{"node": "%s", "kernel": "%s", "processors": %s, "megabytes": %s}\n' \
      "$(hostname)" "$(uname -r)" "$(nproc)" "$((kilobytes / 1024))"
  '';

  # Answers measures until it is ended.
  serve = pkgs.writeShellScriptBin "serve" ''
    echo "serving"
    exec ${pkgs.iperf2}/bin/iperf --server
  '';

  # measure SERVER STREAMS SECONDS: the throughput to a server, as JSON.
  measure = pkgs.writeShellScriptBin "measure" ''
    set -eu
    ${pkgs.iperf2}/bin/iperf --client "$1" --parallel "$2" --time "$3" --reportstyle C >/tmp/measure.csv
    bits=$(tail -n 1 /tmp/measure.csv | cut -d , -f 9)
    test "''${bits:-0}" -gt 0
    printf '{"client": "%s", "streams": %s, "bits_per_second": %s}\n' "$(hostname)" "$2" "$bits"
  '';
}
