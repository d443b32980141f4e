# Reads a composition: { roles, templates, hosts, rolesDistribution, container, testScript, warnings }, whatever its form.
# Knows no base; a base gives `arguments` (pkgs and such) for the composition's function.
{ lib }:
{
  # The composition: a path, or its content for an embedding caller.
  composition,
  # What the composition's function may ask for.
  arguments,
  # Where a composition that is no path was found, for messages.
  file ? if builtins.isPath composition then toString composition else "<composition>",
}:
let
  fail = message: throw "nxc: ${file}: ${message}";

  inherit (import ./wording.nix { inherit lib; }) aKind quoted suggestion;
  inherit (import ./container.nix { inherit lib; }) patterns;

  raw = if builtins.isPath composition then import composition else composition;

  call =
    function:
    let
      wanted = builtins.functionArgs function;
      given = quoted (builtins.attrNames arguments);
      unknown = lib.filter (name: !(wanted.${name} || arguments ? ${name})) (builtins.attrNames wanted);
    in
    if unknown == [ ] then
      function arguments
    else
      fail "it asks for the argument ${quoted unknown}, which nxc does not give; there are ${given}";

  called = if builtins.isFunction raw then call raw else raw;

  content =
    if !builtins.isAttrs called then
      fail "it must be a set with `roles', or a function that gives one, not ${aKind called}"
    else if called ? roles && called ? nodes then
      fail "both `roles' and `nodes' are given; `nodes' is another name for `roles', keep one"
    else if !(called ? roles || called ? nodes) then
      fail "`roles' is missing${suggestion "roles" (builtins.attrNames called)}"
    else if unknownKeys != [ ] then
      fail "unknown ${quoted unknownKeys}${suggestion (builtins.head unknownKeys) known}; a composition has ${quoted known}"
    else
      called;

  known = [
    "roles"
    "nodes"
    "testScript"
    "rolesDistribution"
    "dockerPorts"
    "extraVolumes"
  ];
  # Keys that existing compositions of other tools have and that change nothing here.
  tolerated = [
    "flavours"
    "nspawnPorts"
    "name"
    "meta"
  ];
  unknownKeys = lib.filter (key: !(builtins.elem key (known ++ tolerated))) (builtins.attrNames called);
  ignoredKeys = lib.filter (key: builtins.elem key tolerated) (builtins.attrNames called);

  key = if content ? nodes then "nodes" else "roles";
  roleSet = content.${key};
  roles =
    if !builtins.isAttrs roleSet then
      fail "`${key}' must be a set of modules, not ${aKind roleSet}"
    else if roleSet == { } then
      fail "`${key}' is empty; a composition has at least one role"
    else
      builtins.mapAttrs checkRole roleSet;

  # Names of machines, and of their variables in the test script (there `-` is `_`).
  isName = name: builtins.match "[A-Za-z]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?" name != null;

  checkRole =
    name: role:
    if !isName name then
      fail "role `${name}': a role is named with letters, digits, `-' and `_' and begins with a letter"
    else if
      builtins.isFunction role
      || builtins.isAttrs role
      || builtins.isPath role
      || (builtins.isString role && lib.hasPrefix "/" role)
    then
      {
        _file = "${file}, role `${name}'";
        imports = [ role ];
      }
    else
      fail "role `${name}' must be a module (a set, a function or a path), not ${aKind role}";

  # Roles that are the very same function or file are one system. Within lists Nix compares functions by
  # identity, which holds while a value is only handed on; other sets would be compared by their content.
  isSame =
    a: b:
    (builtins.isFunction a && builtins.isFunction b && [ a ] == [ b ])
    || (builtins.isPath a && builtins.isPath b && a == b);
  firstLike =
    role:
    let
      likes = builtins.mapAttrs (_: isSame role) roleSet;
    in
    lib.findFirst (other: likes.${other}) null (builtins.attrNames roleSet);
  templateOf =
    name: role:
    let
      first = firstLike role;
    in
    if first == null then name else first;

  # A set of the composition with something for some of its roles.
  byRole =
    key:
    let
      given = content.${key} or { };
      unknown = lib.filter (name: !(roleSet ? ${name})) (builtins.attrNames given);
    in
    if !builtins.isAttrs given then
      fail "`${key}' must be a set, not ${aKind given}"
    else if unknown != [ ] then
      fail "`${key}' names ${quoted unknown}${
        suggestion (builtins.head unknown) (builtins.attrNames roles)
      }, but the roles are ${quoted (builtins.attrNames roles)}"
    else
      given;

  distributionSet = byRole "rolesDistribution";
  rolesDistribution = builtins.mapAttrs (
    name: _: if distributionSet ? ${name} then checkShare name distributionSet.${name} else 1
  ) roles;

  # What NixOS Compose has for a whole composition, and nxc.container for each role.
  texts =
    key: pattern: example: given:
    let
      isOne = value: builtins.isString value && !builtins.hasContext value && builtins.match pattern value != null;
      wrong = lib.filter (value: !isOne value) given;
    in
    if !builtins.isList given then
      fail "`${key}' must be a list, not ${aKind given}"
    else if wrong != [ ] then
      fail "`${key}' has ${
        if builtins.isString (builtins.head wrong) then
          "`${builtins.unsafeDiscardStringContext (builtins.head wrong)}'"
        else
          aKind (builtins.head wrong)
      }; write ${example}, as docker does"
    else
      given;
  portsOf = byRole "dockerPorts";
  volumes = texts "extraVolumes" patterns.volume "\"/here:/there\"" (content.extraVolumes or [ ]);
  container = builtins.mapAttrs (name: _: {
    ports = texts "dockerPorts.${name}" patterns.port "\"8443:443\"" (portsOf.${name} or [ ]);
    inherit volumes;
  }) roles;

  checkShare =
    name: share:
    if builtins.isInt share && share >= 0 then
      share
    else if
      builtins.isList share && builtins.all builtins.isString share && lib.unique share == share
    then
      map (
        host:
        if isName host then
          host
        else
          fail "rolesDistribution.${name}: `${host}' cannot be the name of a machine"
      ) share
    else
      fail "rolesDistribution.${name} must be a number of machines or a list of different host names";

  hostsOf =
    name: share:
    if builtins.isList share then
      share
    else if share == 1 then
      [ name ]
    else
      builtins.genList (i: "${name}${toString (i + 1)}") share;

  allHosts = lib.concatMap (name: hostsOf name rolesDistribution.${name}) (builtins.attrNames roles);
  twice = lib.unique (lib.filter (host: lib.count (other: other == host) allHosts > 1) allHosts);
in
{
  inherit file roles rolesDistribution;
  # role -> { ports, volumes }: what the composition says beside the roles' own nxc.container. No part of a role, since
  # equal roles are one system.
  inherit container;
  # role -> the role whose system is also its own.
  templates = builtins.mapAttrs templateOf roleSet;
  # host name -> role, as `rolesDistribution` says; a caller may distribute roles otherwise.
  hosts =
    if twice != [ ] then
      fail "two machines are named ${quoted twice}; say other names in `rolesDistribution'"
    else if allHosts == [ ] then
      fail "`rolesDistribution' leaves no machine at all"
    else
      lib.listToAttrs (
        lib.concatMap (
          name:
          map (host: {
            name = host;
            value = name;
          }) (hostsOf name rolesDistribution.${name})
        ) (builtins.attrNames roles)
      );
  # `testScript' as text; `nodes' (host name -> configuration) is for a script that is a function.
  testScript =
    nodes:
    let
      script = content.testScript or null;
      text = if builtins.isFunction script then script { inherit nodes; } else script;
    in
    if text == null || builtins.isString text then
      text
    else
      fail "`testScript' must be text, or a function of { nodes, ... } that gives text, not ${aKind text}";
  warnings = map (name: "${file}: `${name}' has no effect here") ignoredKeys;
}
