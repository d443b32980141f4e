{ lib, helpers }:
let
  inherit (helpers) eval declare;
  inherit (lib) types mkOption;
  out = declare { out = types.anything; };
  result = modules: (eval ([ out ] ++ modules)).out;
  special =
    specialArgs: modules:
    (lib.evalModules {
      inherit specialArgs;
      modules = [ out ] ++ modules;
    }).config.out;
in
{
  moduleArgs = result [
    { _module.args.word = "given"; }
    ({ word, ... }: { out = word; })
  ];
  moduleArgsFromConfig = result [
    ({ config, ... }: { _module.args.word = "${config.other} word"; })
    { options.other = mkOption { default = "other"; }; }
    ({ word, ... }: { out = word; })
  ];
  moduleArgsPriority = result [
    { _module.args.word = lib.mkDefault "weak"; }
    { _module.args.word = "strong"; }
    ({ word, ... }: { out = word; })
  ];
  moduleArgsConflict = result [
    { _module.args.word = "a"; }
    { _module.args.word = "b"; }
    ({ word, ... }: { out = word; })
  ];
  unusedMissingArgument = result [
    ({ nothing, ... }: { out = 1; })
  ];
  defaultArgumentIsIgnored = result [
    { _module.args.word = "given"; }
    ({ word ? "default", ... }: { out = word; })
  ];
  specialArgs = special { word = "special"; } [ ({ word, ... }: { out = word; }) ];
  specialArgsInImports = special { wanted = [ { out = "imported"; } ]; } [
    ({ wanted, ... }: { imports = wanted; })
  ];
  specialArgsBeatModuleArgs = special { word = "special"; } [
    { _module.args.word = "args"; }
    ({ word, ... }: { out = word; })
  ];
  specialArgsItself = special { word = "special"; } [
    ({ specialArgs, ... }: { out = specialArgs.word; })
  ];
  specialArgsReplaceLib = special { lib = lib // { mine = "mine"; }; } [
    ({ lib, ... }: { out = lib.mine; })
  ];
  prefixedEvaluation =
    (lib.evalModules {
      prefix = [ "top" ];
      modules = [
        { options.x = mkOption { default = 1; }; }
      ];
    }).options.x.loc;
  libIsGiven = result [ ({ lib, ... }: { out = lib.toUpper "a"; }) ];
  atPattern = result [ (args@{ config, ... }: { out = args ? options; }) ];
  configIsLazy = eval [
    (declare { out = types.lazyAttrsOf types.int; })
    (
      { config, ... }:
      {
        out = {
          a = 1;
          b = config.out.a + 1;
        };
      }
    )
  ];
  modulesOfOneEvaluation = result [
    (
      { extendModules, ... }:
      {
        out = builtins.isFunction extendModules;
      }
    )
  ];
  internalsAreNotInConfig = builtins.attrNames (eval [ out ]);
  moduleAttribute =
    builtins.attrNames
      (lib.evalModules { modules = [ out ]; })._module.args;
}
