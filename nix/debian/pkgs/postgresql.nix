# pkgs.postgresql, and pkgs.postgresql_15 or what else the Debian release has.
{
  lib,
  kinds,
  # Names of the mirror's packages; without them, those of bookworm.
  mirrored,
}:
let
  inMirror = lib.concatMap (
    name:
    let
      found = builtins.match "postgresql-([0-9]+)" name;
    in
    lib.optional (found != null) (lib.toInt (builtins.head found))
  ) mirrored;
  versions = if inMirror == [ ] then [ 15 ] else lib.sort (a: b: a < b) (lib.unique inMirror);
  newest = lib.last versions;

  # Not of the kind `package': Debian's psql is a wrapper that looks for clusters of Debian's own, and the server's
  # commands are in no folder for commands.
  server =
    number:
    let
      version = toString number;
    in
    kinds.command {
      name = "postgresql";
      env = {
        buildInputs = [
          (kinds.package {
            attribute = "postgresql-${version}";
            debian = [ "postgresql-${version}" ];
            command = "psql";
          })
        ];
        meta.mainProgram = "psql";
        passthru = {
          inherit version;
          psqlSchema = version;
        };
      };
      script = ''
        mkdir "$out"
        ln -s /usr/lib/postgresql/${version}/bin "$out/bin"
        ln -s /usr/lib/postgresql/${version}/lib "$out/lib"
        ln -s /usr/share/postgresql/${version} "$out/share"
      '';
    };

  others = lib.subtractLists versions (lib.range 10 20);
  refused =
    attribute:
    throw "nxc: pkgs.${attribute}: this Debian release has PostgreSQL ${lib.concatMapStringsSep ", " toString versions}; use pkgs.postgresql, or --base nixos";
in
lib.genAttrs ([ "postgresql_9_5" "postgresql_9_6" ] ++ map (number: "postgresql_${toString number}") others) refused
// lib.listToAttrs (
  map (number: {
    name = "postgresql_${toString number}";
    value = server number;
  }) versions
)
// {
  postgresql = server newest;
}
