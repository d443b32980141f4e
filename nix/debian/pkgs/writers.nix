# Functions of nixpkgs that write files and scripts, with the signatures they have there.
{
  lib,
  kinds,
  pkgs,
}:
let
  shebang = "#!/bin/bash";

  script =
    name: destination: text:
    kinds.text {
      inherit name destination text;
      executable = true;
    };

  # writers: `writeX name text`, `writeX name { options } text`, and a path "/bin/foo" as name.
  writer =
    render: nameOrPath: argument:
    if builtins.isAttrs argument && !lib.isDerivation argument then
      body: write render nameOrPath argument body
    else
      write render nameOrPath { } argument;
  write =
    render: nameOrPath: options: body:
    let
      isPath = lib.hasPrefix "/" nameOrPath;
      name = baseNameOf nameOrPath;
      content = if builtins.isPath body then builtins.readFile body else body;
      rendered = render options content;
    in
    kinds.text {
      inherit name;
      destination = if isPath then nameOrPath else "";
      executable = true;
      text = rendered.text;
      requires = rendered.requires or [ ];
    };
  both = name: render: {
    "write${name}" = writer render;
    "write${name}Bin" = name: writer render "/bin/${name}";
  };

  bash = both "Bash" (
    options: body: {
      text = "${shebang}\n${searchPath options}${body}";
    }
  );
  dash = both "Dash" (options: body: { text = "#!/bin/sh\n${searchPath options}${body}"; });
  python3 = both "Python3" (
    options: body: {
      text = "#!/usr/bin/python3\n${body}";
      requires = [ pkgs.python3 ] ++ (options.libraries or [ ]);
    }
  );
  perl = both "Perl" (
    options: body: {
      text = "#!/usr/bin/perl\n${body}";
      requires = [ pkgs.perl ] ++ (options.libraries or [ ]);
    }
  );

  # The writers know `makeWrapperArgs = [ "--prefix" "PATH" ":" "…" ]` only; other arguments need a real wrapper.
  searchPath =
    options:
    let
      args = options.makeWrapperArgs or [ ];
    in
    if args == [ ] then
      ""
    else if
      builtins.length args == 4 && lib.take 3 args == [
        "--prefix"
        "PATH"
        ":"
      ]
    then
      ''
        export PATH="${builtins.elemAt args 3}:$PATH"
      ''
    else
      throw "nxc: of makeWrapperArgs the debian base knows only [ \"--prefix\" \"PATH\" \":\" path ]";

  concat =
    name: files: executable:
    kinds.text {
      inherit name executable;
      text = lib.concatMapStrings builtins.readFile files;
    };

  replace =
    name: src: values: executable:
    kinds.text {
      inherit name executable;
      text = builtins.replaceStrings (map (key: "@${key}@") (builtins.attrNames values)) (map toString (
        builtins.attrValues values
      )) (builtins.readFile src);
    };
in
{
  writeText = name: text: kinds.text { inherit name text; };
  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      meta ? { },
      ...
    }:
    kinds.text {
      inherit
        name
        text
        executable
        destination
        ;
      mainProgram = meta.mainProgram or (if destination == "" then name else baseNameOf destination);
    };
  writeTextDir =
    path: text:
    kinds.text {
      name = baseNameOf path;
      inherit text;
      destination = "/${path}";
    };
  writeScript = name: text: script name "" text;
  writeScriptBin = name: text: script name "/bin/${name}" text;
  writeShellScript = name: text: script name "" "${shebang}\n${text}\n";
  writeShellScriptBin = name: text: script name "/bin/${name}" "${shebang}\n${text}\n";
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      runtimeEnv ? null,
      bashOptions ? [
        "errexit"
        "nounset"
        "pipefail"
      ],
      inheritPath ? true,
      ...
    }:
    script name "/bin/${name}" (
      "${shebang}\n"
      + lib.concatMapStrings (option: "set -o ${option}\n") bashOptions
      + lib.concatStrings (
        lib.mapAttrsToList (variable: value: ''
          ${variable}=${lib.escapeShellArg (toString value)}
          export ${variable}
        '') (if runtimeEnv == null then { } else runtimeEnv)
      )
      + lib.optionalString (runtimeInputs != [ ]) ''

        export PATH="${lib.makeBinPath runtimeInputs}${lib.optionalString inheritPath ":$PATH"}"
      ''
      + "\n${text}\n"
    );

  concatText = name: files: concat name files false;
  concatScript = name: files: concat name files true;

  runCommand = name: env: script: kinds.command { inherit name env script; };
  runCommandLocal = name: env: script: kinds.command { inherit name env script; };
  runCommandCC =
    name: env: script:
    kinds.command {
      inherit name script;
      env = env // {
        nativeBuildInputs = [ pkgs.gcc ] ++ (env.nativeBuildInputs or [ ]);
      };
    };

  symlinkJoin =
    {
      name ? "${args.pname}-${args.version}",
      paths,
      postBuild ? "",
      meta ? { },
      passthru ? { },
      ...
    }@args:
    kinds.join {
      inherit
        name
        paths
        postBuild
        meta
        passthru
        ;
    };
  buildEnv =
    {
      name,
      paths,
      postBuild ? "",
      meta ? { },
      passthru ? { },
      ...
    }:
    kinds.join {
      inherit
        name
        paths
        postBuild
        meta
        passthru
        ;
    };
  linkFarm =
    name: entries:
    let
      list =
        if builtins.isAttrs entries then
          lib.mapAttrsToList (name: path: { inherit name path; }) entries
        else
          entries;
      link =
        { name, path }:
        ''
          mkdir -p "$out/$(dirname ${lib.escapeShellArg name})"
          ln -s ${lib.escapeShellArg "${path}"} "$out/"${lib.escapeShellArg name}
        '';
    in
    kinds.command {
      inherit name;
      script = "mkdir -p \"$out\"\n" + lib.concatMapStrings link list;
    };

  writers = bash // dash // python3 // perl // {
    writeText = name: text: kinds.text { inherit name text; };
    writeJSON =
      name: value:
      kinds.text {
        name = baseNameOf name;
        text = builtins.toJSON value;
      };
    writeYAML =
      name: value:
      kinds.text {
        name = baseNameOf name;
        text = builtins.toJSON value;
      };
  };

  # Both replace @name@ with values known at evaluation.
  substituteAll =
    args:
    replace (args.name or (baseNameOf (toString args.src))) args.src (
      removeAttrs args [
        "src"
        "name"
        "isExecutable"
        "dir"
      ]
    ) (args.isExecutable or false);
  replaceVars = src: values: replace (baseNameOf (toString src)) src values false;
}
