{ lib, helpers }:
let
  inherit (helpers) evalOptions;
  inherit (lib) types mkOption;
  x = (evalOptions [
    {
      _file = "declares.nix";
      options.a.x = mkOption {
        type = types.listOf types.int;
        default = [ 0 ];
        description = "An option.";
        example = [ 1 ];
      };
    }
    {
      _file = "one.nix";
      a.x = [ 1 ];
    }
    {
      _file = "two.nix";
      a.x = lib.mkBefore [ 2 ];
    }
    {
      _file = "weak.nix";
      a.x = lib.mkDefault [ 3 ];
    }
  ]).a.x;
  unset = (evalOptions [ { options.x = mkOption { type = types.int; }; } ]).x;
  byDefault = (evalOptions [ { options.x = mkOption { default = 1; }; } ]).x;
in
{
  isDefined = [
    x.isDefined
    unset.isDefined
    byDefault.isDefined
  ];
  highestPrio = [
    x.highestPrio
    unset.highestPrio
    byDefault.highestPrio
  ];
  files = x.files;
  definitions = x.definitions;
  definitionsWithLocations = x.definitionsWithLocations;
  declarations = x.declarations;
  loc = x.loc;
  value = x.value;
  asString = "${x}";
  description = [
    x.description
    x.example
    x.default
    x.type.description
  ];
  forcedPriority =
    (evalOptions [
      { options.x = mkOption { default = 1; }; }
      { x = lib.mkForce 2; }
    ]).x.highestPrio;
  isOption = [
    (lib.isOption x)
    (lib.isOption { })
    (lib.isOption 1)
  ];
  conditionalIsDefined =
    (evalOptions [
      { options.x = mkOption { type = types.int; }; }
      { x = lib.mkIf false 1; }
    ]).x.isDefined;
  optionsInAModule =
    (helpers.eval [
      { options.a = mkOption { default = 1; }; }
      (
        { options, ... }:
        {
          options.b = mkOption { default = options.a.isDefined; };
          options.c = mkOption { default = options ? nothing; };
        }
      )
    ]);
  declaredTwice =
    (evalOptions [
      {
        _file = "a.nix";
        options.x = mkOption { type = types.enum [ 1 ]; };
      }
      {
        _file = "b.nix";
        options.x = mkOption {
          type = types.enum [ 2 ];
          default = 2;
        };
      }
    ]).x.declarations;
  showOption = map lib.showOption [
    [ "a" "b" ]
    [ "a" "b.c" "*" "<name>" ]
    [ "2x" "in" ]
    [ ]
  ];
  showFiles = lib.showFiles [ "a" "b" ];
  withDefLocs = lib.options.showOptionWithDefLocs x;
  attributePriorities =
    lib.modules.mergeAttrDefinitionsWithPrio
      (evalOptions [
        { options.x = mkOption { type = types.attrsOf types.int; }; }
        { x.a = 1; }
        { x.b = lib.mkForce 2; }
        { x.a = lib.mkDefault 5; }
      ]).x;
  docList =
    map
      (o: {
        inherit (o)
          name
          type
          visible
          internal
          readOnly
          declarations
          description
          ;
        default = o.default or null;
        example = o.example or null;
      })
      (
        builtins.filter (o: !lib.hasInfix "_module" o.name) (
          lib.optionAttrSetToDocList (evalOptions [
            {
              _file = "doc.nix";
              options.a = mkOption {
                type = types.attrsOf (
                  types.submodule {
                    options.b = mkOption {
                      type = types.int;
                      default = 1;
                      description = "Inner.";
                    };
                  }
                );
                default = { };
                description = "Outer.";
                example = lib.literalExpression "{ x.b = 2; }";
              };
              options.hidden = mkOption {
                type = types.submodule { options.c = mkOption { default = 1; }; };
                visible = false;
              };
              options.shallow = mkOption {
                type = types.submodule { options.c = mkOption { default = 1; }; };
                visible = "shallow";
                default.c = "two\nlines";
              };
            }
          ])
        )
      );
}
