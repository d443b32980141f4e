# Files and scripts, with the signatures that nixpkgs' functions have.
{ final, lib }:
let
  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      checkPhase ? "",
      meta ? { },
      ...
    }:
    final.runCommand name
      {
        inherit text executable meta;
        passthru.text = text;
      }
      ''
        target=$out${destination}
        mkdir -p "$(dirname "$target")"
        printf %s "$text" > "$target"
        [ -z "$executable" ] || chmod +x "$target"
        ${checkPhase}
      '';

  script =
    name: destination: text:
    writeTextFile {
      inherit name destination text;
      executable = true;
      meta.mainProgram = name;
    };

  shell = text: "#!${final.runtimeShell}\n${text}\n";

  # `writeX "name" text`, `writeX "name" { options } text`, and "/bin/name" for a folder.
  writer =
    interpreter: nameOrPath: options:
    if builtins.isAttrs options && !lib.isDerivation options then
      text: written interpreter nameOrPath (options // { inherit text; })
    else
      written interpreter nameOrPath { text = options; };
  written =
    interpreter: nameOrPath: options:
    script (baseNameOf nameOrPath) (lib.optionalString (lib.hasPrefix "/" nameOrPath) nameOrPath) ''
      #!${interpreter options}
      ${if builtins.isPath options.text then builtins.readFile options.text else options.text}
    '';
  both = name: interpreter: {
    "write${name}" = writer interpreter;
    "write${name}Bin" = name: writer interpreter "/bin/${name}";
  };
in
{
  inherit writeTextFile;
  writeText = name: text: writeTextFile { inherit name text; };
  writeTextDir =
    path: text:
    writeTextFile {
      inherit text;
      name = baseNameOf path;
      destination = "/${path}";
    };
  writeScript = name: text: script name "" text;
  writeScriptBin = name: text: script name "/bin/${name}" text;
  writeShellScript = name: text: script name "" (shell text);
  writeShellScriptBin = name: text: script name "/bin/${name}" (shell text);
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      ...
    }:
    script name "/bin/${name}" (shell ''
      set -o errexit
      set -o nounset
      set -o pipefail
      export PATH="${lib.makeBinPath runtimeInputs}:$PATH"
      ${text}
    '');
  concatText =
    name: files:
    final.runCommand name { inherit files; } "cat $files > $out";
  writeReferencesToFile =
    path:
    let
      closure = final.closureInfo { rootPaths = [ path ]; };
    in
    final.runCommand "references" { } "cp ${closure}/store-paths $out";
  substituteAll =
    args:
    final.writeText (args.name or (baseNameOf (toString args.src))) (
      builtins.replaceStrings (map (key: "@${key}@") (builtins.attrNames args)) (map toString (
        builtins.attrValues args
      )) (builtins.readFile args.src)
    );
  replaceVars =
    src: values:
    final.writeText (baseNameOf (toString src)) (
      builtins.replaceStrings (map (key: "@${key}@") (builtins.attrNames values)) (map toString (
        builtins.attrValues values
      )) (builtins.readFile src)
    );

  writers =
    both "Bash" (_: final.runtimeShell)
    // both "Dash" (_: "${final.dash}/bin/dash")
    // both "Python3" (
      options: "${final.python3.withPackages (_: options.libraries or [ ])}/bin/python3"
    )
    // {
      writeText = name: text: final.writeText name text;
      writeJSON = name: value: final.writeText name (builtins.toJSON value);
      writeYAML = name: value: final.writeText name (builtins.toJSON value);
    };
}
