# Small functions for flakes and compositions; a composition's function may ask for them as `helpers'.
let
  listToSet = builtins.foldl' (set: part: set // part) { };
in
rec {
  # makeManyById (id: module) "node" 2: { node1 = module of 1; node2 = module of 2; }
  makeManyById =
    moduleOf: name: count:
    builtins.listToAttrs (
      builtins.genList (i: {
        name = "${name}${toString (i + 1)}";
        value = moduleOf (i + 1);
      }) count
    );

  # makeMany module "node" 2: { node1 = module; node2 = module; }
  # Every role is the very same value, by which `compose' knows that one evaluation serves them all.
  makeMany =
    module: name: count:
    builtins.listToAttrs (
      builtins.genList (i: {
        name = "${name}${toString (i + 1)}";
        value = module;
      }) count
    );

  # mapListToAttrs (x: { ${x} = x + "-2"; }) [ "a" "b" ]: { a = "a-2"; b = "b-2"; }
  mapListToAttrs = function: list: listToSet (map function list);

  # mapAttrNamesToAttrs (x: { ${x} = x + "-2"; }) { a = 1; b = 2; }: { a = "a-2"; b = "b-2"; }
  mapAttrNamesToAttrs = function: set: mapListToAttrs function (builtins.attrNames set);

  # mapAttrsToAttrs (n: v: { ${n + "2"} = v + 1; }) { a = 1; b = 2; }: { a2 = 2; b2 = 3; }
  mapAttrsToAttrs = function: set: mapListToAttrs (name: function name set.${name}) (builtins.attrNames set);
}
