{ lib, helpers }:
let
  inherit (helpers) eval declare;
  inherit (lib) types mkOption;
  person = types.submodule {
    options.name = mkOption { type = types.str; };
    options.age = mkOption {
      type = types.int;
      default = 30;
    };
  };
  named = types.submodule (
    { name, ... }:
    {
      options.name = mkOption {
        type = types.str;
        default = name;
      };
      options.tags = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
    }
  );
in
{
  single = eval [
    (declare { p = person; })
    { p.name = "ada"; }
  ];
  merged = eval [
    (declare { p = person; })
    { p.name = "ada"; }
    { p.age = 36; }
  ];
  missing = eval [
    (declare { p = person; })
    { p.age = 36; }
  ];
  unknownInside = eval [
    (declare { p = person; })
    {
      p.name = "ada";
      p.agee = 36;
    }
  ];
  wrongTypeInside = eval [
    (declare { p = person; })
    { p.name = 1; }
  ];
  notAModule = eval [
    (declare { p = person; })
    { p = 1; }
  ];
  asFunction = eval [
    (declare { p = person; })
    {
      p =
        { config, ... }:
        {
          name = "${toString config.age} years";
        };
    }
  ];
  asPath = eval [
    (declare {
      p = types.submodule { options.xs = mkOption { type = types.listOf types.str; }; };
    })
    { p = helpers.fixtures + "/leaf.nix"; }
  ];
  shorthandSetHasNoImports = eval [
    (declare { p = person; })
    { p = { imports = [ { name = "ada"; } ]; }; }
  ];
  withImports = eval [
    (declare { p = types.submoduleWith { modules = [ { options.n = mkOption { type = types.int; }; } ]; }; })
    { p = { imports = [ { n = 1; } ]; }; }
  ];
  definitionDeclares = eval [
    (declare { p = types.submoduleWith { modules = [ ]; }; })
    {
      p = {
        options.n = mkOption { default = 4; };
      };
    }
  ];
  functionMayImport = eval [
    (declare { p = person; })
    { p = _: { imports = [ { name = "imported"; } ]; }; }
  ];
  attrsOfTakeTheirNames = eval [
    (declare { ps = types.attrsOf named; })
    {
      ps.one = { };
      ps.two.name = "second";
    }
  ];
  attrsOfMerge = eval [
    (declare { ps = types.attrsOf named; })
    { ps.one.tags = [ "a" ]; }
    { ps.one.tags = lib.mkBefore [ "b" ]; }
    { ps = lib.mkIf true { one.tags = [ "c" ]; }; }
  ];
  listOfNames = map (p: p.name) (eval [
    (declare { ps = types.listOf named; })
    { ps = [ { } { } ]; }
  ]).ps;
  listOfNamesFromTwoModules = map (p: p.name) (eval [
    (declare { ps = types.listOf named; })
    { ps = [ { tags = [ "first" ]; } ]; }
    { ps = [ { } ]; }
  ]).ps;
  nestedSubmodules = eval [
    (declare {
      outer = types.attrsOf (
        types.submodule (
          { name, config, ... }:
          {
            options.inner = mkOption {
              default = { };
              type = types.attrsOf (
                types.submodule (inner: {
                  options.path = mkOption { default = "${name}/${inner.config.label}/${config.suffix}"; };
                  options.label = mkOption { default = "label"; };
                })
              );
            };
            options.suffix = mkOption { type = types.str; };
          }
        )
      );
    })
    {
      outer.a = {
        inner.x = { };
        suffix = "s";
      };
    }
  ];
  declaredTwice = eval [
    (declare { p = person; })
    (declare {
      p = types.submodule { options.city = mkOption { default = "nowhere"; }; };
    })
    { p.name = "ada"; }
  ];
  attrsOfDeclaredTwice = eval [
    (declare { ps = types.attrsOf person; })
    (declare {
      ps = types.attrsOf (types.submodule { options.city = mkOption { default = "nowhere"; }; });
    })
    { ps.a.name = "ada"; }
  ];
  optionsBelowASubmodule = eval [
    (declare { p = person; })
    { options.p.city = mkOption { default = "nowhere"; }; }
    { p.name = "ada"; }
  ];
  optionsBelowAnotherType = eval [
    (declare { p = types.attrsOf types.int; })
    { options.p.city = mkOption { default = "nowhere"; }; }
  ];
  defaultOfSubmodule = eval [
    {
      options.p = mkOption {
        type = person;
        default = { };
      };
    }
    { p.name = "ada"; }
  ];
  defaultValuesOfSubmodule = eval [
    {
      options.p = mkOption {
        type = person;
        default.name = "default";
        default.age = 1;
      };
    }
    { p.age = 2; }
  ];
  emptyValue = eval [ (declare { p = types.submodule { options.n = mkOption { default = 1; }; }; }) ];
  defaultsByConfig = eval [
    (declare { ps = types.attrsOf named; })
    (
      { config, ... }:
      {
        ps.a.tags = [ "from a" ];
        ps.b.tags = config.ps.a.tags;
      }
    )
  ];
  configInSubmodule = eval [
    (declare {
      p = types.submodule (
        { config, ... }:
        {
          options.a = mkOption { type = types.int; };
          options.b = mkOption { type = types.int; };
          config.b = lib.mkDefault (config.a * 2);
        }
      );
    })
    { p.a = 2; }
  ];
  specialArgs = eval [
    (declare {
      p = types.submoduleWith {
        specialArgs.word = "special";
        modules = [ ({ word, ... }: { options.n = mkOption { default = word; }; }) ];
      };
    })
    { p = { }; }
  ];
  moduleArgs = eval [
    (declare {
      p = types.submodule [
        { _module.args.word = "args"; }
        ({ word, ... }: { options.n = mkOption { default = word; }; })
      ];
    })
    { p = { }; }
  ];
  parentArgsAreNotThere = eval [
    { _module.args.word = "parent"; }
    (declare {
      p = types.submodule (
        args:
        {
          options.n = mkOption { default = args ? word; };
        }
      );
    })
    { p = { }; }
  ];
  nullOrSubmodule = eval [
    (declare { p = types.nullOr person; })
    { p.name = "ada"; }
    { p.age = 1; }
  ];
  eitherSubmodule = eval [
    (declare { p = types.either types.str person; })
    { p.name = "ada"; }
  ];
  forceOne = eval [
    (declare { ps = types.attrsOf person; })
    {
      ps.a.name = "a";
      ps.a.age = 1;
    }
    { ps.a = lib.mkForce { name = "forced"; }; }
  ];
  forceWithin = eval [
    (declare { ps = types.attrsOf person; })
    {
      ps.a.name = "a";
      ps.a.age = 1;
    }
    { ps.a.age = lib.mkForce 2; }
  ];
  ifWithinTheAttribute = eval [
    (declare { ps = types.attrsOf person; })
    {
      ps.a = lib.mkIf false { name = "a"; };
      ps.b = lib.mkMerge [
        { name = "b"; }
        (lib.mkIf true { age = 3; })
      ];
    }
  ];
  attributeNamedConfig = eval [
    (declare {
      p = types.submodule { options.config = mkOption { type = types.str; }; };
    })
    { p.config = "text"; }
  ];
  freeformSubmodule = eval [
    (declare {
      p = types.submodule {
        freeformType = types.attrsOf types.str;
        options.n = mkOption {
          type = types.int;
          default = 1;
        };
      };
    })
    { p.other = "text"; }
  ];
  applyInside = eval [
    (declare {
      ps = types.attrsOf (
        types.submodule {
          options.n = mkOption {
            type = types.int;
            apply = x: x * 10;
          };
        }
      );
    })
    { ps.a.n = 1; }
  ];
  readOnlyInside = eval [
    (declare {
      p = types.submodule {
        options.n = mkOption {
          readOnly = true;
          default = 1;
        };
      };
    })
    { p.n = 2; }
  ];
  extendedType =
    let
      inner = lib.evalModules { modules = [ { options.n = mkOption { default = 1; }; } ]; };
    in
    eval [
      (declare { p = inner.type; })
      { p.n = 2; }
    ];
}
