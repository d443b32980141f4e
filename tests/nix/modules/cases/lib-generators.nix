{ lib, helpers }:
let
  inherit (lib) generators;
in
{
  toINI = generators.toINI { } {
    "b [x]" = {
      flag = true;
      "a=b" = 1;
    };
    a = {
      text = "x";
      nothing = null;
    };
  };
  toINIOptions = generators.toINI {
    mkKeyValue = generators.mkKeyValueDefault { mkValueString = v: "<${toString v}>"; } " : ";
    mkSectionName = lib.toUpper;
    listsAsDuplicateKeys = true;
  } { a.k = [ 1 2 ]; };
  toINIOfList = generators.toINI { } { a.k = "text"; b = { }; };
  toINIWithGlobalSection = [
    (generators.toINIWithGlobalSection { } {
      globalSection.a = 1;
      sections.s.b = 2;
    })
    (generators.toINIWithGlobalSection { } { globalSection = { }; sections.s.b = 2; })
  ];
  toKeyValue = [
    (generators.toKeyValue { } { a = 1; b = "x"; c = true; f = 1.5; })
    (generators.toKeyValue { listsAsDuplicateKeys = true; indent = "  "; } { a = [ 1 2 ]; b = 3; })
    (generators.toKeyValue { mkKeyValue = generators.mkKeyValueDefault { } " "; } { "a b" = 1; })
  ];
  toGitINI = generators.toGitINI {
    user.name = "a \"b\"";
    url."ssh://x".insteadOf = "https://x";
    a.b.c.d = 1;
    core.list = [ "a" "b" ];
    core.flag = true;
  };
  toJSON = [ (generators.toJSON { } { a = [ 1 null ]; }) (generators.toYAML { } { a = 1; }) ];
  toPretty = [
    (generators.toPretty { } { a = 1; b = [ "x" true null 1.5 ]; "c d" = { }; e = [ ]; })
    (generators.toPretty { multiline = false; } { a = 1; b = [ "x" ]; })
    (generators.toPretty { } "a\nb\n")
    (generators.toPretty { } "a\n  '' \${b}\nb")
    (generators.toPretty { multiline = false; } "a\nb\"\${c}\\")
    (generators.toPretty { } { s = "x\ny"; })
    (generators.toPretty { } (x: x))
    (generators.toPretty { } ({ a, b ? 1 }: 1))
    (generators.toPretty { } { type = "derivation"; name = "d"; })
    (generators.toPretty { allowPrettyValues = true; } { __pretty = v: "<${v}>"; val = "v"; })
    (generators.toPretty { indent = "    "; } [ 1 ])
    (generators.toPretty { } /a/path)
  ];
  withRecursion = [
    (generators.toPretty { } (generators.withRecursion { depthLimit = 1; throwOnDepthLimit = false; } { a.b.c = 1; d = 1; }))
    (generators.withRecursion { depthLimit = 3; } { a.b = 1; })
  ];
  recursionCut =
    let
      endless.a = endless;
    in
    generators.withRecursion { depthLimit = 2; } endless;
  mkLuaInline = generators.mkLuaInline "1 + 1";
  toPlist = generators.toPlist { escape = true; } {
    a = [ 1 true "x<y" ];
    b.c = 1.5;
    empty = null;
  };
  gnuCommandLine = [
    (lib.cli.toGNUCommandLine { } { a = true; b = false; long = "x y"; list = [ 1 2 ]; n = 3; none = null; })
    (lib.cli.toGNUCommandLineShell { } { X = "PUT"; data = "{}"; retry = 3; verbose = true; url = [ "a b" "c" ]; })
    (lib.cli.toGNUCommandLine { optionValueSeparator = "="; } { long = "x"; })
  ];
  commandLine = [
    (lib.cli.toCommandLineGNU { } { v = true; n = 1; long = "x"; off = false; list = [ 1 2 ]; none = null; })
    (lib.cli.toCommandLineShellGNU { } { long = "x y"; })
    (lib.cli.toCommandLine (name: { option = "-${name}"; sep = null; explicitBool = true; }) { a = true; b = "c"; })
  ];
}
