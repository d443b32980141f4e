{ lib, helpers }:
{
  functions = [
    (lib.id 1)
    (lib.const 1 2)
    (lib.pipe 2 [ (x: x + 1) (x: x * 2) ])
    (lib.flip (a: b: a - b) 1 3)
    (lib.concat [ 1 ] [ 2 ])
    (lib.mergeAttrs { a = 1; } { a = 2; })
    (lib.defaultTo 1 null)
    (lib.defaultTo 1 2)
    (lib.mapNullable (x: x + 1) null)
    (lib.mapNullable (x: x + 1) 1)
    (lib.and true false)
    (lib."or" true false)
    (lib.xor true false)
  ];
  numbers = [
    (lib.min 1 2)
    (lib.max 1 2)
    (lib.mod 7 3)
    (lib.mod (-7) 3)
    (lib.compare 1 2)
    (lib.bitNot 5)
    (lib.bitAnd 6 3)
    (lib.toHexString 255)
    (lib.fromHexString "ff")
    (lib.fromHexString "0x1F")
    (lib.toBaseDigits 2 6)
    (lib.toBaseDigits 10 0)
    (lib.splitByAndCompare (lib.hasPrefix "a") lib.compare lib.compare "b" "ab")
  ];
  booleans = [ (lib.boolToString true) (lib.boolToString false) (lib.boolToYesNo true) ];
  files = [
    (lib.importJSON (helpers.fixtures + "/settings.json"))
    (lib.importTOML (helpers.fixtures + "/settings.toml"))
    (lib.pathExists (helpers.fixtures + "/nothing"))
  ];
  quietWarnings = [
    (lib.warnIf false "never" 1)
    (lib.warnIfNot true "never" 1)
    (lib.throwIf false "never" 1)
    (lib.throwIfNot true "never" 1)
    (lib.assertMsg true "never")
    (lib.showWarnings [ ] 1)
  ];
  warned = lib.warn "expected by a test" 1;
  thrown = lib.throwIf true "always" 1;
  notThrown = lib.throwIfNot false "always" 1;
  asserted = lib.assertMsg false "always";
  assertOneOf = lib.assertOneOf "x" 1 [ 1 2 ];
  assertNoneOf = lib.assertOneOf "x" 3 [ 1 2 ];
  checkListOfEnum = lib.checkListOfEnum "colours" [ "red" ] [ "red" ] "fine";
  checkListOfOthers = lib.checkListOfEnum "colours" [ "red" ] [ "blue" ] "fine";
  functionArgs = [
    (lib.functionArgs ({ a, b ? 1 }: 1))
    (lib.functionArgs (lib.setFunctionArgs (x: x) { q = true; }))
    (lib.functionArgs (lib.mirrorFunctionArgs ({ a }: 1) (x: x)))
    (lib.isFunction (x: x))
    (lib.isFunction { __functor = _: x: x; })
    (lib.isFunction { })
    ((lib.toFunction 1) null)
    ((lib.toFunction (x: x)) 2)
  ];
  fixedPoints = [
    (lib.fix (self: { a = 1; b = self.a + 1; })).b
    (lib.fix (lib.extends (final: prev: { a = prev.a + final.c; c = 10; }) (final: { a = 1; b = final.a; })))
    ((lib.makeExtensible (final: { a = 1; b = final.a; })).extend (_: prev: { a = prev.a + 1; })).b
    (lib.composeExtensions (f: p: { a = 1; }) (f: p: { b = p.a; }) { } { })
    (lib.composeManyExtensions [ (f: p: { a = 1; }) (f: p: { b = p.a; }) (f: p: { c = p.b; }) ] { } { })
  ];
  licensesExist = [ (lib.licenses ? mit) (lib.licenses ? gpl3Plus) (builtins.isList lib.platforms.linux) ];
  metaPriority = (lib.hiPrio { name = "a"; }).meta.priority;
  versionsExist = [ (builtins.isString lib.version) (builtins.isString lib.trivial.release) ];
  traces = [ (lib.trace "expected by a test" 1) (lib.traceVal 1) (lib.traceIf false "never" 1) ];
}
