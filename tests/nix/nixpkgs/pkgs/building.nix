# Derivations that this machine's own programs build, behind nixpkgs' functions.
{
  final,
  lib,
  system,
  settings,
}:
let
  # Read by the evaluation, not by the build.
  unbuilt = [
    "meta"
    "passthru"
    "passAsFile"
    "pos"
    "env"
    "strictDeps"
  ];

  # What nixpkgs does to a package before it lets anybody have it.
  checkMeta =
    name: meta:
    let
      licenses = lib.toList (meta.license or [ ]);
      unfree = lib.any (license: !(license.free or true)) licenses;
      allowed =
        settings.allowUnfree or false
        || (settings.allowUnfreePredicate or (_: false)) {
          inherit name meta;
          pname = name;
        };
    in
    if unfree && !allowed then
      throw ''
        Package ‘${name}’ in ${meta.position or "the stand-in"} has an unfree license (‘unfree’), refusing to evaluate.

        Allow it by NIXPKGS_ALLOW_UNFREE=1 or { nixpkgs.config.allowUnfree = true; }
      ''
    else if meta.broken or false && !(settings.allowBroken or false) then
      throw "Package ‘${name}’ in the stand-in is marked as broken, refusing to evaluate."
    else
      true;

  mkDerivation =
    argument:
    let
      attrs =
        if builtins.isFunction argument then argument (attrs // { finalPackage = self; }) else argument;
      name = attrs.name or "${attrs.pname}-${attrs.version}";
      meta = attrs.meta or { };
      # Null inputs are left out, as stdenv does.
      inputs = key: lib.filter (input: input != null) (attrs.${key} or [ ]);
      drv = derivation (
        removeAttrs attrs unbuilt
        // (attrs.env or { })
        // {
          inherit name;
          system = attrs.system or system;
          nativeBuildInputs = inputs "nativeBuildInputs";
          buildInputs = inputs "buildInputs";
          builder = attrs.builder or "/bin/bash";
          args =
            attrs.args or [
              "-c"
              ''
                source ${./setup.sh}
                ${if attrs ? buildCommand then ''eval "$buildCommand"'' else "runPhases"}
              ''
            ];
        }
      );
      self =
        drv
        // {
          inherit name meta;
          system = attrs.system or system;
          pname = attrs.pname or (builtins.parseDrvName name).name;
          version = attrs.version or (builtins.parseDrvName name).version;
          passthru = attrs.passthru or { };
          override = _: self;
          overrideAttrs =
            change:
            mkDerivation (
              attrs // (if builtins.isFunction change then callChange change attrs else change)
            );
        }
        // (attrs.passthru or { })
        // {
          outPath = builtins.seq (checkMeta name meta) drv.outPath;
          drvPath = builtins.seq (checkMeta name meta) drv.drvPath;
        };
    in
    self;

  callChange =
    change: attrs:
    let
      first = change attrs;
    in
    if builtins.isFunction first then change attrs attrs else first;

  runCommand =
    name: env: buildCommand:
    mkDerivation (env // { inherit name buildCommand; });
in
{
  inherit mkDerivation runCommand;
  runCommandLocal =
    name: env:
    runCommand name (
      {
        preferLocalBuild = true;
        allowSubstitutes = false;
      }
      // env
    );
  runCommandCC = runCommand;
  runCommandNoCC = runCommand;
  mkShell = attrs: runCommand "nix-shell" attrs "touch $out";

  # The registration is true: hashes and references are those that Nix itself tells the build.
  closureInfo =
    { rootPaths }:
    derivation {
      name = "closure-info";
      inherit system;
      __structuredAttrs = true;
      exportReferencesGraph.closure = rootPaths;
      preferLocalBuild = true;
      builder = "/bin/bash";
      args = [
        "-c"
        ''
          source .attrs.sh
          exec /usr/bin/python3 ${./closure-info.py} .attrs.json "''${outputs[out]}"
        ''
      ];
    };

  buildEnv =
    {
      name,
      paths,
      pathsToLink ? [ "/" ],
      postBuild ? "",
      ...
    }@args:
    final.symlinkJoin (
      removeAttrs args [
        "pathsToLink"
        "ignoreCollisions"
        "extraOutputsToInstall"
      ]
    );
  symlinkJoin =
    {
      name ? "${args.pname}-${args.version}",
      paths,
      postBuild ? "",
      meta ? { },
      passthru ? { },
      ...
    }@args:
    runCommand name
      {
        inherit meta passthru;
        paths = lib.filter (path: path != null) (lib.flatten paths);
      }
      ''
        mkdir -p $out
        for path in $paths; do
          (cd $path && find . -type d -exec mkdir -p "$out/{}" \;)
          (cd $path && find . ! -type d -exec ln -sf "$path/{}" "$out/{}" \;)
        done
        ${postBuild}
      '';
  linkFarm =
    name: entries:
    let
      list =
        if builtins.isAttrs entries then
          lib.mapAttrsToList (name: path: { inherit name path; }) entries
        else
          entries;
    in
    runCommand name { } (
      "mkdir -p $out\n"
      + lib.concatMapStrings (entry: ''
        mkdir -p "$(dirname $out/${lib.escapeShellArg entry.name})"
        ln -s ${lib.escapeShellArg "${entry.path}"} $out/${lib.escapeShellArg entry.name}
      '') list
    );
}
