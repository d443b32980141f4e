# Examples that are for both bases.
let
  examples = ../../../examples;
in
builtins.listToAttrs (
  map
    (name: {
      inherit name;
      value = examples + "/${name}/composition.nix";
    })
    [
      "basic"
      "nfs"
      "postgres"
      "scripts"
      "shared-directories-users"
      "webserver"
    ]
)
