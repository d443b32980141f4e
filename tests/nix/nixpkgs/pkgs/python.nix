# Python with libraries, as a folder that mentions them.
{ final, lib }:
let
  library =
    name:
    final.runCommand "python3-${name}" { } ''
      mkdir -p $out/lib/python3/site-packages
      echo "# ${name}" > $out/lib/python3/site-packages/${name}.py
    '';
  libraries = lib.genAttrs [ "numpy" "pyyaml" "requests" "execo" "matplotlib" "pandas" "psycopg2" ] library;
in
{
  python3Packages = libraries;
  python310Packages = libraries;
  python3 = final.hostProgram "python3" { commands = [ "python3" ]; } // {
    pkgs = final.python3Packages;
    withPackages =
      choose:
      final.symlinkJoin {
        name = "python3-env";
        paths = [ final.python3 ] ++ choose final.python3Packages;
      };
  };
  python310 = final.python3;
}
