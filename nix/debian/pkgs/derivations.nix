# The four kinds of derivation that the builder realises inside a role's root; `nxcKind` says which.
{
  lib,
  system,
}:
let
  # Real derivations, so that a path inside any string carries what must be built for it. Nix never runs them.
  make =
    name: attrs: extra:
    let
      drv = derivation (
        attrs
        // {
          inherit name system;
          builder = "nxc";
        }
      );
      outputs = {
        out = self;
        bin = self;
        lib = self;
        dev = self;
        man = self;
        doc = self;
      };
      self =
        drv
        // outputs
        // {
          inherit name;
          pname = name;
          version = "debian";
          meta = {
            mainProgram = extra.mainProgram or name;
          };
          passthru = extra.passthru or { };
          override = refuse name "override";
          overrideAttrs = refuse name "overrideAttrs";
        }
        // (extra.passthru or { })
        // (removeAttrs extra [ "passthru" ]);
    in
    self;

  refuse =
    name: verb: _:
    throw "nxc: ${name}.${verb}: Debian packages are used as they are; only --base nixos can change how one is built";

  # Names of store paths allow fewer characters than file names do, and mention nothing.
  storeName =
    mentioning:
    let
      name = builtins.unsafeDiscardStringContext mentioning;
    in
    lib.concatMapStrings (part: if builtins.isList part then "-" else part) (
      builtins.split "[^A-Za-z0-9+._?=-]+" (if lib.hasPrefix "." name then "_${name}" else name)
    );
in
rec {
  package =
    { attribute, debian, command }:
    make attribute
      {
        nxcKind = "package";
        debian = lib.concatStringsSep " " debian;
      }
      {
        pname = attribute;
        mainProgram = command;
        debianNames = debian;
      };

  # `requires` is mentioned so that it is built and installed too; nothing reads it.
  text =
    {
      name,
      text,
      destination ? "",
      executable ? false,
      requires ? [ ],
      mainProgram ? name,
      passthru ? { },
    }:
    make (storeName name)
      {
        nxcKind = "text";
        inherit text destination requires;
        executable = if executable then "1" else "";
      }
      { inherit mainProgram passthru; };

  command =
    {
      name,
      env ? { },
      script,
    }:
    let
      inputs = lib.filter (input: input != null) (
        (env.nativeBuildInputs or [ ]) ++ (env.buildInputs or [ ]) ++ (env.propagatedBuildInputs or [ ])
      );
      # What nixpkgs' builder reads and ours has no use for.
      meaningless = [
        "allowSubstitutes"
        "buildInputs"
        "dontUnpack"
        "env"
        "meta"
        "nativeBuildInputs"
        "passthru"
        "preferLocalBuild"
        "propagatedBuildInputs"
        "pname"
        "version"
      ];
      unsupported = lib.filter (attr: env ? ${attr}) [
        "outputHash"
        "outputs"
        "passAsFile"
        "__structuredAttrs"
      ];
    in
    if unsupported != [ ] then
      throw "nxc: runCommand `${name}': `${builtins.head unsupported}' is not supported on the debian base"
    else
      make (storeName name)
        (
          removeAttrs (env // (env.env or { })) meaningless
          // {
            nxcKind = "command";
            buildCommand = script;
            buildInputs = inputs;
          }
        )
        {
          meta = {
            mainProgram = name;
          }
          // (env.meta or { });
          passthru = env.passthru or { };
        };

  join =
    {
      name,
      paths,
      postBuild ? "",
      meta ? { },
      passthru ? { },
    }:
    make (storeName name)
      {
        nxcKind = "join";
        inherit postBuild;
        paths = lib.filter (path: path != null) (lib.flatten paths);
      }
      {
        meta = {
          mainProgram = name;
        }
        // meta;
        inherit passthru;
      };
}
