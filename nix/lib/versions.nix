# Parts of version strings.
{ lib }:
let
  part = n: v: builtins.elemAt (builtins.splitVersion v) n;
in
rec {
  inherit (builtins) compareVersions splitVersion;
  major = part 0;
  minor = part 1;
  patch = part 2;
  majorMinor = v: "${major v}.${minor v}";
  pad =
    n: version:
    let
      numeric = builtins.head (lib.strings.splitString "-" version);
      suffix = lib.strings.removePrefix numeric version;
      parts = builtins.splitVersion numeric;
    in
    builtins.concatStringsSep "." (
      lib.lists.take n (parts ++ lib.lists.replicate (lib.trivial.max 0 (n - builtins.length parts)) "0")
    )
    + suffix;
}
