{ lib, helpers }:
let
  package = outputs: {
    type = "derivation";
    name = "tool-1.2";
    outPath = "/out";
  } // outputs;
in
{
  concatMapStringsSep = lib.concatMapStringsSep ", " (x: "<${x}>") [ "a" "b" ];
  concatMapStrings = lib.concatMapStrings (x: "<${x}>") [ "a" "b" ];
  concatImap = [
    (lib.concatImapStrings (n: x: "${toString n}${x}") [ "a" "b" ])
    (lib.concatImapStringsSep "-" (n: x: "${toString n}${x}") [ "a" "b" ])
  ];
  concatMapAttrsStringSep = lib.concatMapAttrsStringSep ";" (n: v: "${n}=${v}") { a = "1"; b = "2"; };
  concatLines = map lib.concatLines [ [ ] [ "a" ] [ "a" "b" ] ];
  intersperse = map (lib.intersperse "/") [ [ ] [ "a" ] [ "a" "b" "c" ] ];
  optionalString = [ (lib.optionalString true "a") (lib.optionalString false "a") ];
  replicate = [ (lib.strings.replicate 3 "ab") (lib.replicate 2 "x") ];
  prefixes = [
    (lib.hasPrefix "ab" "abc")
    (lib.hasPrefix "abc" "ab")
    (lib.hasPrefix "" "")
    (lib.removePrefix "ab" "abc")
    (lib.removePrefix "x" "abc")
  ];
  suffixes = [
    (lib.hasSuffix "bc" "abc")
    (lib.hasSuffix "abcd" "abc")
    (lib.hasSuffix "" "abc")
    (lib.removeSuffix "bc" "abc")
    (lib.removeSuffix "x" "abc")
    (lib.removeSuffix "" "abc")
  ];
  infixes = map (i: lib.hasInfix i "a.b*c") [ "." "b*" "x" "" "a.b*c" ".*" ];
  splitString = [
    (lib.splitString "." "a.b..c")
    (lib.splitString "" "ab")
    (lib.splitString "::" "a::b")
    (lib.splitString "," "")
    (lib.splitString "|" "a|b")
  ];
  splitStringBy = [
    (lib.splitStringBy (_: c: c == "-") false "a-b-")
    (lib.splitStringBy (p: c: p == "a") true "aab")
    (lib.splitStringBy (_: _: true) false "")
  ];
  trim = [
    (lib.trim " \t a b \n")
    (lib.trim "   ")
    (lib.trimWith { start = true; } " a ")
    (lib.trimWith { end = true; } " a ")
    (lib.trimWith { } " a ")
  ];
  caseChange = [
    (lib.toUpper "aé1")
    (lib.toLower "AbC")
    (lib.toSentenceCase "hELLO world")
    (lib.toCamelCase "some-long_name here")
    (lib.toCamelCase "HelloWorld")
  ];
  escapeShellArg = map lib.escapeShellArg [ "a" "a b" "it's" "" "x=y" "/a/b-c_d.e:f@g%h+" 1 "$HOME" "new\nline" ];
  escapeShellArgs = lib.escapeShellArgs [ "a" "b c" 3 ./x ] != "";
  escapes = [
    (lib.escape [ "(" ")" ] "(a)")
    (lib.escapeRegex "a.b*c[d]$")
    (lib.escapeXML "<a href=\"x\">'&'</a>")
    (lib.strings.escapeNixString "a\${b}\n\"")
    (map lib.strings.escapeNixIdentifier [ "a" "a b" "1a" "in" "a-b'" "$" "or" "null" ])
    (lib.strings.escapeC [ " " ";" ] "a b;")
    (lib.escapeURL "a b/ä?&=~")
  ];
  toShellVars = lib.toShellVars {
    a = "x y";
    list = [ "a" "b c" ];
    map = { "k 1" = "v"; };
    number = 3;
  };
  toShellVarBadName = lib.toShellVar "a-b" "x";
  searchPaths = [
    (lib.makeBinPath [ "/a" "/b" ])
    (lib.makeBinPath [ (package { bin.outPath = "/bin-out"; }) (package { }) null ])
    (lib.makeLibraryPath [ (package { lib.outPath = "/lib-out"; }) ])
    (lib.makeSearchPath "share" [ "/a" "/b" ])
    (lib.makeSearchPathOutput "dev" "include" [ (package { dev.outPath = "/dev-out"; }) ])
  ];
  getExe = [
    (lib.getExe (package { meta.mainProgram = "run"; }))
    (lib.getExe' (package { bin.outPath = "/b"; }) "other")
    (lib.getExe (package { pname = "tool"; meta.name = "tool"; }))
  ];
  getExeOfText = lib.getExe' "text" "a";
  getExeOfPath = lib.getExe' (package { }) "a/b";
  versions = [
    (lib.versionAtLeast "1.10" "1.9")
    (lib.versionOlder "1.10" "1.9")
    (lib.versionAtLeast "1.0" "1.0")
    (lib.versions.major "1.2.3")
    (lib.versions.minor "1.2.3")
    (lib.versions.patch "1.2.3")
    (lib.versions.majorMinor "1.2.3")
    (lib.versions.splitVersion "1.2pre")
    (lib.versions.pad 4 "1.2-rc1")
    (lib.versions.pad 1 "1.2.3")
    (lib.compareVersions "1" "2")
  ];
  names = [
    (lib.getName "tool-1.2")
    (lib.getName (package { }))
    (lib.getName { pname = "p"; })
    (lib.getVersion "tool-1.2")
    (lib.getVersion (package { }))
    (lib.getVersion { version = "3"; })
    (lib.nameFromURL "https://example.org/a/tool-1.tar.gz" ".")
  ];
  flags = [
    (lib.enableFeature true "x")
    (lib.enableFeatureAs false "x" "1")
    (lib.withFeature false "x")
    (lib.withFeatureAs true "x" "1")
  ];
  numbers = [
    (lib.toInt " 12 ")
    (lib.toInt "-3")
    (lib.toIntBase10 "007")
    (lib.fixedWidthString 5 "0" "12")
    (lib.fixedWidthNumber 4 7)
  ];
  toIntOfText = lib.toInt "x1";
  toIntOfOctal = lib.toInt "007";
  tooWide = lib.fixedWidthString 1 "0" "12";
  fileContents = lib.fileContents (helpers.fixtures + "/settings.toml");
  characters = [
    (lib.stringToCharacters "abc")
    (lib.stringAsChars (c: c + c) "abc")
    (lib.strings.charToInt "a")
    (lib.strings.normalizePath "/a//b/./c//")
    (lib.strings.normalizePath "a")
  ];
  sanitize = map lib.strings.sanitizeDerivationName [ "a b/c" "..x" "" "ok-1.0" "é" ];
  stringLike = map lib.strings.isConvertibleWithToString [ "a" 1 null [ 1 [ "a" ] ] { } { outPath = "/a"; } [ { } ] (x: x) ];
  isStorePath = map lib.isStorePath [ "/nix/store/x" "/nix/store/x/y" "/a" 1 ];
  levenshtein = [
    (lib.strings.levenshtein "kitten" "sitting")
    (lib.strings.levenshtein "" "abc")
    (lib.strings.levenshtein "abc" "")
    (lib.strings.levenshtein "same" "same")
    (lib.strings.levenshteinAtMost 2 "nginx" "ngnix")
    (lib.strings.levenshteinAtMost 1 "nginx" "ngnix")
    (lib.strings.levenshteinAtMost 2 "a" "abcd")
    (lib.strings.commonPrefixLength "abcd" "abx")
  ];
  posixNames = map lib.isValidPosixName [ "a_1" "1a" "a-b" "" ];
  join = lib.join "," [ "a" "b" ];
  replaceString = lib.replaceString "a" "b" "banana";
  toJSON = [ (lib.strings.toJSON { a = [ 1 null ]; }) (lib.strings.fromJSON "[1]") ];
}
