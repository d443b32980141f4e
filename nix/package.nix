# One package: the build document of a composition (or of several, all in one) for a flavour. docs/nixos.md says what is in it.
{
  lib,
  system,
  tree,
  catalogue,
}:
{
  # Of the composition; for all in one, empty.
  name,
  # Is it all in one?
  joined,
  compositions,
  flavour,
  # composition -> { reading, outcomes, configs }
  units,
  # Ways to the package that is made otherwise.
  others,
}:
let
  inherit (import ./wording.nix { inherit lib; }) quoted;
  kind = catalogue.kind flavour;

  keyOf = composition: role: if joined then "${composition}.${role}" else role;
  # A set for each composition's roles, as one set of all roles.
  gather =
    function:
    builtins.listToAttrs (
      lib.concatMap (
        composition:
        lib.mapAttrsToList (role: value: {
          name = keyOf composition role;
          inherit value;
        }) (function composition units.${composition})
      ) compositions
    );

  outcomes = gather (_: unit: unit.outcomes);
  parts = builtins.mapAttrs (_: outcome: outcome.parts) outcomes;

  checkedParts =
    given:
    let
      lacking = lib.filter (role: !(given ? ${role})) (builtins.attrNames outcomes);
    in
    if lacking == [ ] then
      given
    else
      throw "nxc: assemble was given no parts of ${quoted lacking}";

  documentOf =
    roles:
    let
      image = kind.image {
        inherit (tree) pkgs;
        inherit (flavour) guest;
        inherit roles;
        name = if joined then "all" else name;
      };
      describe =
        role: part:
        {
          toplevel = "${part.toplevel}";
          init = "${part.toplevel}/init";
          boot = null;
        }
        // image.roles.${role} or { };
    in
    {
      schema = "nxc.nixos/1";
      composition = name;
      flavour = flavour.name;
      inherit (flavour) kind;
      inherit system;
      roles = builtins.mapAttrs describe roles;
      boot = builtins.mapAttrs (_: files: {
        kernel = "${files.kernel}";
        initrd = "${files.initrd}";
      }) (image.boot or { });
      files = builtins.mapAttrs (_: file: "${file}") (image.files or { });
    };

  readingOf =
    composition: unit:
    let
      inherit (unit) reading;
    in
    {
      schema = "nxc.nixos.composition/1";
      name = composition;
      roles = builtins.attrNames reading.roles;
      inherit (reading)
        rolesDistribution
        hosts
        container
        warnings
        ;
      testScript = reading.testScript (builtins.mapAttrs (_: role: unit.configs.${role}) reading.hosts);
    };
  readings = builtins.mapAttrs readingOf units;
  joinedReading = {
    schema = "nxc.nixos.composition/1";
    inherit name;
    roles = builtins.attrNames outcomes;
    rolesDistribution = gather (_: unit: unit.reading.rolesDistribution);
    container = gather (_: unit: unit.reading.container);
    hosts = builtins.listToAttrs (
      lib.concatMap (
        composition:
        lib.mapAttrsToList (host: role: {
          name = "${composition}.${host}";
          value = keyOf composition role;
        }) readings.${composition}.hosts
      ) compositions
    );
    testScript = null;
    warnings = lib.concatMap (composition: readings.${composition}.warnings) compositions;
    compositions = readings;
  };

  # A set of its own, not one joined to the derivation: whoever only reads the composition forces no packages.
  make =
    parts:
    let
      derivation = tree.pkgs.writeText "nxc-build.json" (builtins.toJSON (documentOf (checkedParts parts)));
    in
    {
      type = "derivation";
      name = "nxc-build.json";
      inherit system;
      inherit (derivation) drvPath outPath;
      outputName = "out";
      outputs = [ "out" ];
      out = derivation;
      all = [ derivation ];
      meta = { };
      nxc = {
        read = if joined then joinedReading else readings.${name};
        templates = gather (
          composition: unit: builtins.mapAttrs (_: keyOf composition) unit.reading.templates
        );
        inherit parts;
        needs = builtins.mapAttrs (_: outcome: outcome.needs) outcomes;
        # Its roles' own; `read' has what the composition says beside.
        container = builtins.mapAttrs (_: outcome: outcome.container) outcomes;
        assemble = make;
      }
      // others;
    };
in
make parts
