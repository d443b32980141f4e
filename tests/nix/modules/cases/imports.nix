{ lib, helpers }:
let
  inherit (helpers) eval declare fixtures;
  inherit (lib) types mkOption;
  base = declare {
    n = types.int;
    xs = types.listOf types.str;
  };
  one = { n = 1; };
  xs = modules: (eval ([ base ] ++ modules)).xs;
  keyed = key: {
    inherit key;
    xs = [ key ];
  };
in
{
  path = xs [ (fixtures + "/sets-list.nix") ];
  pathAsString = xs [ "${toString fixtures}/sets-list.nix" ];
  pathOfAFunction = eval [
    base
    (fixtures + "/function.nix")
    one
    { xs = [ ]; }
  ];
  nested = xs [
    {
      imports = [
        { xs = [ "a" ]; }
        { imports = [ { xs = [ "b" ]; } ]; }
      ];
      xs = [ "c" ];
    }
    { xs = [ "d" ]; }
  ];
  breadthFirst = xs [
    {
      imports = [
        {
          imports = [ { xs = [ "a.a.a" ]; } ];
          xs = [ "a.a" ];
        }
        { xs = [ "a.b" ]; }
      ];
      xs = [ "a" ];
    }
    {
      imports = [ { xs = [ "b.a" ]; } ];
      xs = [ "b" ];
    }
  ];
  relativeImport = xs [ (fixtures + "/imports-leaf.nix") ];
  fileTwice = xs [
    (fixtures + "/leaf.nix")
    (fixtures + "/imports-leaf.nix")
    { imports = [ (fixtures + "/leaf.nix") ]; }
  ];
  setTwice = xs (
    let
      m = { xs = [ "m" ]; };
    in
    [
      m
      m
    ]
  );
  keyTwice = xs [
    (keyed "k")
    { imports = [ (keyed "k") ]; }
    (keyed "l")
  ];
  keyOfTheFirst = xs [
    {
      key = "k";
      xs = [ "first" ];
    }
    {
      key = "k";
      xs = [ "second" ];
    }
  ];
  disabledFile = xs [
    (fixtures + "/leaf.nix")
    { xs = [ "a" ]; }
    { disabledModules = [ (fixtures + "/leaf.nix") ]; }
  ];
  disabledImport = xs [
    (fixtures + "/imports-leaf.nix")
    { disabledModules = [ (fixtures + "/leaf.nix") ]; }
  ];
  disabledTakesItsImportsAlong = xs [
    (fixtures + "/imports-leaf.nix")
    {
      disabledModules = [ (fixtures + "/imports-leaf.nix") ];
      xs = [ "a" ];
    }
  ];
  disabledString = xs [
    (fixtures + "/leaf.nix")
    {
      disabledModules = [ "${toString fixtures}/leaf.nix" ];
      xs = [ "a" ];
    }
  ];
  disabledKey = xs [
    (keyed "k")
    (keyed "l")
    { disabledModules = [ { key = "k"; } ]; }
  ];
  disabledBelowModulesPath =
    (lib.evalModules {
      specialArgs.modulesPath = toString fixtures;
      modules = [
        base
        (fixtures + "/leaf.nix")
        {
          disabledModules = [ "leaf.nix" ];
          xs = [ "a" ];
        }
      ];
    }).config.xs;
  disabledWithoutKey = xs [
    {
      disabledModules = [ { xs = [ ]; } ];
      xs = [ "a" ];
    }
  ];
  disabledByADisabledModule = xs [
    {
      key = "k";
      disabledModules = [ { key = "l"; } ];
      xs = [ "k" ];
    }
    (keyed "l")
    {
      disabledModules = [ { key = "k"; } ];
      xs = [ "a" ];
    }
  ];
  listAsModule = xs [ [ { xs = [ ]; } ] ];
  typedValueAsModule = xs [ { imports = [ types.int ]; } ];
  mergeAsModule = xs [ (lib.mkMerge [ { xs = [ "a" ]; } ]) ];
  ifAsModule = xs [
    (lib.mkIf true { xs = [ "a" ]; })
    (lib.mkIf false { xs = [ "b" ]; })
  ];
  functorAsModule = xs [
    {
      __functor = _: { lib, ... }: { xs = [ "functor" ]; };
    }
  ];
  importsByFunction = xs [
    (
      { lib, ... }:
      {
        imports = lib.optional true { xs = [ "a" ]; } ++ lib.optional false { xs = [ "b" ]; };
      }
    )
  ];
  defaultLocation =
    (helpers.evalOptions [
      base
      (lib.setDefaultModuleLocation "here.nix" { xs = [ "a" ]; })
    ]).xs.files;
  fileAttribute =
    (helpers.evalOptions [
      base
      {
        _file = "named.nix";
        imports = [ { xs = [ "inherits the name" ]; } ];
        xs = [ "a" ];
      }
      { xs = [ "unknown" ]; }
    ]).xs.files;
  importApply = xs [ (lib.modules.importApply (fixtures + "/takes-argument.nix") { word = "given"; }) ];
  importJSON = eval [
    base
    (lib.modules.importJSON (fixtures + "/settings.json"))
  ];
  importTOML = eval [
    base
    (lib.modules.importTOML (fixtures + "/settings.toml"))
  ];
  strayBesideConfig = xs [
    {
      config = { };
      xs = [ "a" ];
    }
  ];
  strayBesideOptions = xs [
    {
      options = { };
      xs = [ "a" ];
    }
  ];
  explicitConfig = xs [
    {
      options.other = mkOption { default = 1; };
      config.xs = [ "a" ];
    }
  ];
  classesAgree =
    (lib.evalModules {
      class = "nixos";
      modules = [
        base
        {
          _class = "nixos";
          n = 1;
        }
        { xs = [ ]; }
      ];
    }).config;
  classesDiffer =
    (lib.evalModules {
      class = "nixos";
      modules = [
        base
        {
          _class = "darwin";
          n = 1;
        }
        { xs = [ ]; }
      ];
    }).config;
  extended =
    let
      first = lib.evalModules {
        modules = [
          base
          { xs = [ "first" ]; }
          { n = lib.mkDefault 1; }
        ];
      };
    in
    (first.extendModules {
      modules = [
        { xs = [ "extended" ]; }
        { n = 2; }
      ];
    }).config;
}
