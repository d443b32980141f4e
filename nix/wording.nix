# How messages name things.
{ lib }:
let
  near = import ./near.nix { inherit lib; };
in
rec {
  quoted = names: lib.concatMapStringsSep ", " (name: "`${name}'") names;

  # " (did you mean `roles'?)" where one of names resembles name, else nothing.
  suggestion =
    name: names:
    let
      found = near name names;
    in
    if found == [ ] then "" else " (did you mean ${quoted found}?)";

  # "a set", "an int"
  aKind =
    value:
    let
      kind = builtins.typeOf value;
      vowel = builtins.elem (builtins.substring 0 1 kind) [
        "a"
        "i"
      ];
    in
    if value == null then
      kind
    else if vowel then
      "an ${kind}"
    else
      "a ${kind}";

  # What every "no such file" says more.
  inFlakes = "(in a flake, git add it: a file that git does not know is not there)";
}
