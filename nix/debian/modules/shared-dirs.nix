# Whether the machines that share a folder agree. Warnings, since another distribution of roles may name other machines.
{
  lib,
  config,
  nodes,
  ...
}:
let
  near = import ../../near.nix { inherit lib; };
  mounted = lib.filterAttrs (_: dir: dir.server != "") config.nxc.sharedDirs;

  disagreements =
    server:
    lib.filter (user: (nodes.${server}.users.users.${user}.uid or null) != config.users.users.${user}.uid) (
      lib.filter (user: nodes.${server}.users.users ? ${user}) config.nxc.users.names
    );
  check =
    path: dir:
    let
      option = "nxc.sharedDirs.\"${path}\"";
      inherit (dir) server;
      likely = near server (builtins.attrNames nodes);
    in
    if !(nodes ? ${server}) then
      # An address, or a name of the site.
      lib.optional (!lib.hasInfix "." server) "${option}: no machine is named `${server}'${
        lib.optionalString (likely != [ ]) " (did you mean `${builtins.head likely}'?)"
      }"
    else if !(nodes.${server}.nxc.sharedDirs.${path}.export or false) then
      [ "${option}: `${server}' does not export it" ]
    else
      map (
        user:
        "${option}: user `${user}' has uid ${toString config.users.users.${user}.uid} here and ${
          toString nodes.${server}.users.users.${user}.uid
        } on `${server}'; give nxc.users.names the same list"
      ) (disagreements server);
in
{
  config.warnings = lib.optionals (nodes != { }) (lib.concatLists (lib.mapAttrsToList check mounted));
}
