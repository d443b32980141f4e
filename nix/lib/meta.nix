# What packages say of themselves. The names that compositions mention exist; they carry no more than a name.
{ lib }:
let
  inherit (lib.trivial) assertMsg;
  named = names: lib.attrsets.genAttrs names (name: { shortName = name; });
in
rec {
  topLevel = {
    inherit
      getExe
      getExe'
      addMetaAttrs
      setName
      setPrio
      lowPrio
      hiPrio
      ;
  };

  getExe = pkg: getExe' pkg (pkg.meta.mainProgram or (lib.strings.getName pkg));
  getExe' =
    pkg: name:
    assert assertMsg (lib.attrsets.isDerivation pkg) "getExe': ${builtins.typeOf pkg} is not a package";
    assert assertMsg (builtins.isString name) "getExe': the program's name must be a string";
    assert assertMsg (!lib.strings.hasInfix "/" name) "getExe': `${name}' is a path, not a program's name";
    "${lib.attrsets.getBin pkg}/bin/${name}";

  addMetaAttrs = meta: pkg: pkg // { meta = pkg.meta or { } // meta; };
  setName = name: pkg: pkg // { inherit name; };
  setPrio = priority: addMetaAttrs { inherit priority; };
  lowPrio = setPrio 10;
  hiPrio = setPrio (-10);

  maintainers = { };
  teams = { };
  platforms = {
    all = platforms.linux ++ platforms.darwin;
    unix = platforms.all;
    linux = [
      "x86_64-linux"
      "aarch64-linux"
      "i686-linux"
      "armv7l-linux"
      "riscv64-linux"
      "powerpc64le-linux"
    ];
    darwin = [
      "x86_64-darwin"
      "aarch64-darwin"
    ];
    x86_64 = [
      "x86_64-linux"
      "x86_64-darwin"
    ];
    none = [ ];
  };
  sourceTypes = named [
    "fromSource"
    "binaryNativeCode"
    "binaryBytecode"
    "binaryFirmware"
  ];
  licenses = named [
    "agpl3Only"
    "agpl3Plus"
    "artistic2"
    "asl20"
    "boost"
    "bsd0"
    "bsd2"
    "bsd3"
    "cc-by-40"
    "cc-by-sa-40"
    "cc0"
    "cecill21"
    "cecill-b"
    "cecill-c"
    "epl20"
    "eupl12"
    "free"
    "gpl2Only"
    "gpl2Plus"
    "gpl3Only"
    "gpl3Plus"
    "isc"
    "lgpl2Plus"
    "lgpl21Only"
    "lgpl21Plus"
    "lgpl3Only"
    "lgpl3Plus"
    "mit"
    "mpl20"
    "publicDomain"
    "unfree"
    "unfreeRedistributable"
    "unlicense"
    "zlib"
  ];
}
