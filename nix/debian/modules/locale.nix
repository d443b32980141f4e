{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  zone = config.time.timeZone;
  locale = config.i18n.defaultLocale;
  extra = config.i18n.extraLocaleSettings;

  # In every Debian system without the package `locales`.
  builtIn = [
    "C"
    "C.UTF-8"
    "POSIX"
  ];
  wanted = lib.unique (
    lib.filter (name: !(builtins.elem name builtIn)) ([ locale ] ++ builtins.attrValues extra)
  );
  # xx_YY.UTF-8, perhaps with @modifier.
  parts = name: builtins.match "([a-z]{2,3}_[A-Z]{2})\\.(UTF-8|utf8)(@[a-z]+)?" name;
  unknown = lib.filter (name: parts name == null) wanted;
  modifier = name: if builtins.elemAt (parts name) 2 == null then "" else builtins.elemAt (parts name) 2;
  territory = name: builtins.elemAt (parts name) 0;
  folder = name: "${territory name}.utf8${modifier name}";
  # Compiled in the build: locale-gen at boot would cost seconds, its archive would not be reproducible.
  compiled =
    name:
    pkgs.runCommand "locale-${territory name}" { nativeBuildInputs = [ pkgs.locales ]; } ''
      mkdir -p "$out"
      localedef --no-archive -c -i ${territory name}${modifier name} -f UTF-8 "$out/locale" || test -d "$out/locale"
    '';
in
{
  options = {
    time.timeZone = mkOption {
      type = types.nullOr (types.strMatching "[A-Za-z0-9_+/-]+");
      default = null;
      description = "Time zone, as Europe/Paris; null is UTC.";
    };
    i18n.defaultLocale = mkOption {
      type = types.str;
      default = "C.UTF-8";
      description = "Locale of the system: C.UTF-8, C, POSIX or xx_YY.UTF-8.";
    };
    i18n.extraLocaleSettings = mkOption {
      type = types.attrsOf types.str;
      default = { };
      description = "LC_* variables, as { LC_TIME = \"fr_FR.UTF-8\"; }.";
    };
  };

  config = {
    assertions = map (name: {
      assertion = false;
      message = "i18n: the debian base has no locale `${name}'; use C.UTF-8, C, POSIX, or one written xx_YY.UTF-8";
    }) unknown;

    environment.sessionVariables = {
      LANG = locale;
    }
    // extra;
    nxc.debian.packages = lib.optional (zone != null) "tzdata";
    environment.etc = {
      "localtime" = lib.mkIf (zone != null) { source = "/usr/share/zoneinfo/${zone}"; };
      "timezone" = lib.mkIf (zone != null) {
        text = "${zone}\n";
        mode = "0644";
      };
      "default/locale" = {
        mode = "0644";
        text =
          "LANG=${locale}\n" + lib.concatStrings (lib.mapAttrsToList (name: value: "${name}=${value}\n") extra);
      };
      # The same for services; NixOS has it there.
      "locale.conf" = {
        mode = "0644";
        text =
          "LANG=${locale}\n" + lib.concatStrings (lib.mapAttrsToList (name: value: "${name}=${value}\n") extra);
      };
    };
    nxc.debian.files = lib.listToAttrs (
      map (name: {
        name = "usr/lib/locale/${folder name}";
        value.source = "${compiled name}/locale";
      }) (lib.filter (name: parts name != null) wanted)
    );
  };
}
