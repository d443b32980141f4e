# Modules for options that moved or went away.
{ lib }:
let
  inherit (builtins) any filter foldl';
  inherit (lib.attrsets)
    attrByPath
    getAttrFromPath
    optionalAttrs
    recursiveUpdate
    setAttrByPath
    ;
  inherit (lib.lists) optional;
  inherit (lib.modules)
    mkAliasAndWrapDefinitions
    mkAliasAndWrapDefsWithPriority
    mkIf
    mkMerge
    setDefaultModuleLocation
    ;
  inherit (lib.options) mkOption showFiles showOption;
  inherit (lib.trivial) id oldestSupportedReleaseIsAtLeast warnIf;
  unset = "_mkMergedOptionModule";
in
rec {
  # Definitions of `from` become definitions of `to`, with their priority; reading `from` reads `to`.
  doRename =
    {
      from,
      to,
      visible,
      warn,
      use,
      withPriority ? true,
      condition ? true,
    }:
    { config, options, ... }:
    let
      old = getAttrFromPath from options;
      toType = (attrByPath to { } options).type or (lib.types.submodule { });
      missing = throw "nxc: option `${showOption from}' is renamed to `${showOption to}', which does not exist";
      alias = if withPriority then mkAliasAndWrapDefsWithPriority else mkAliasAndWrapDefinitions;
    in
    {
      options = setAttrByPath from (
        mkOption {
          inherit visible;
          description = "Alias of {option}`${showOption to}`.";
          apply = _: use (attrByPath to missing config);
        }
        // optionalAttrs (toType != null) { type = toType; }
      );
      config = mkIf condition (mkMerge [
        (optionalAttrs (options ? warnings) {
          warnings = optional (
            warn && old.isDefined
          ) "The option `${showOption from}' defined in ${showFiles old.files} has been renamed to `${showOption to}'.";
        })
        (alias (setAttrByPath to) old)
      ]);
    };

  mkAliasOptionModule =
    from: to:
    doRename {
      inherit from to;
      visible = true;
      warn = false;
      use = id;
    };
  mkAliasOptionModuleMD = mkAliasOptionModule;

  mkRenamedOptionModule =
    from: to:
    doRename {
      inherit from to;
      visible = false;
      warn = true;
      use = builtins.trace "Obsolete option `${showOption from}' is used. It was renamed to `${showOption to}'.";
    };
  mkRenamedOptionModuleWith =
    {
      from,
      to,
      sinceRelease,
    }:
    let
      old = oldestSupportedReleaseIsAtLeast sinceRelease;
    in
    doRename {
      inherit from to;
      visible = false;
      warn = old;
      use = warnIf old "Obsolete option `${showOption from}' is used. It was renamed to `${showOption to}'.";
    };

  mkRemovedOptionModule =
    name: instead:
    { options, ... }:
    let
      option = getAttrFromPath name options;
    in
    {
      options = setAttrByPath name (mkOption {
        visible = false;
        apply = _: throw "nxc: option `${showOption name}' has been removed. ${instead}";
      });
      config.assertions = [
        {
          assertion = !option.isDefined;
          message = ''
            The option definition `${showOption name}' in ${showFiles option.files} no longer has any effect; please remove it.
            ${instead}
          '';
        }
      ];
    };

  # Options `from` set `to` through a function of the configuration.
  mkMergedOptionModule =
    from: to: merge:
    { config, options, ... }:
    let
      isSet = path: getAttrFromPath path config != unset;
      declare = path: setAttrByPath path (mkOption {
        visible = false;
        default = unset;
      });
    in
    {
      options = foldl' recursiveUpdate { } (map declare from);
      config = {
        warnings = map (
          path:
          "The option `${showOption path}' defined in ${
            showFiles (getAttrFromPath path options).files
          } has been changed to `${showOption to}' that has a different type. Please read `${showOption to}' documentation and update your configuration accordingly."
        ) (filter isSet from);
      }
      // setAttrByPath to (mkMerge (optional (any isSet from) (merge config)));
    };
  mkChangedOptionModule = from: mkMergedOptionModule [ from ];

  # A file that takes arguments and gives a module, as a module that knows its file.
  importApply = path: arguments: setDefaultModuleLocation path (import path arguments);
  importJSON = file: {
    _file = file;
    config = lib.trivial.importJSON file;
  };
  importTOML = file: {
    _file = file;
    config = lib.trivial.importTOML file;
  };
}
