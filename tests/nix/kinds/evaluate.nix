# The modules of a kind under a NixOS of a few options, all declared: defining any other is an error, as in NixOS.
{
  # Names that pkgs has.
  packages,
  # Whether there is what later releases have.
  later ? false,
  kind,
  guest ? { },
  # A module.
  role ? { },
  lib ? import ../../../nix/lib,
}:
let
  nix = ../../../nix;
  inherit (lib) mkOption types;

  fake = name: {
    type = "derivation";
    inherit name;
    outPath = "/fake/${name}";
  };
  made = name: attributes: text: fake name // attributes // { inherit text; };
  pkgs = lib.genAttrs packages fake // {
    runCommand = made;
    closureInfo = { rootPaths }: fake "closure-info" // { inherit rootPaths; };
  };

  kindFile = import (nix + "/kinds/${kind}.nix") { inherit lib; };

  declare =
    type: default:
    mkOption {
      inherit type default;
    };
  off = declare types.bool false;
  on = declare types.bool true;
  words = declare (types.listOf types.str) [ ];
  list = declare (types.listOf types.unspecified) [ ];
  lines = declare types.lines "";
  several = options: declare (types.attrsOf (types.submodule { inherit options; })) { };
  free = declare (types.attrsOf types.unspecified) { };
  unit = {
    enable = on;
    wantedBy = words;
    before = words;
    after = words;
    wants = words;
    conflicts = words;
    path = list;
    script = lines;
    description = lines;
    restartIfChanged = on;
    unitConfig = free;
    serviceConfig = free;
  };

  always.options = {
    assertions = list;
    boot = {
      isContainer = off;
      initrd = {
        availableKernelModules = words;
        kernelModules = words;
        network.enable = off;
        network.flushBeforeStage2 = on;
        postMountCommands = lines;
      };
      kernelParams = words;
      loader.grub.enable = on;
      specialFileSystems = free;
    };
    documentation.enable = on;
    environment.etc = several {
      text = declare (types.nullOr types.lines) null;
      source = declare types.unspecified null;
    };
    fileSystems = several {
      device = declare (types.nullOr types.str) null;
      fsType = declare types.str "auto";
      options = declare (types.listOf types.str) [ "defaults" ];
      neededForBoot = off;
    };
    fonts.fontconfig.enable = on;
    hardware.enableRedistributableFirmware = off;
    hardware.firmware = list;
    networking = {
      dhcpcd.persistent = off;
      firewall = {
        enable = on;
        allowedTCPPorts = list;
        allowedTCPPortRanges = list;
        rejectPackets = off;
      };
      hostName = declare types.str "nixos";
      interfaces = free;
      nameservers = words;
      useDHCP = on;
    };
    nix.package = declare types.unspecified (fake "nix");
    security.polkit.enable = on;
    services.nscd.enable = on;
    services.openssh.enable = off;
    services.openssh.startWhenNeeded = off;
    services.udisks2.enable = on;
    system.activationScripts = declare (types.attrsOf types.str) { };
    system.build = free;
    system.nixos.release = declare types.str "1.0";
    system.stateVersion = declare types.str "0.1";
    systemd.packages = list;
    systemd.suppressedSystemUnits = words;
    systemd.services = several unit;
    systemd.tmpfiles.rules = words;
    users.groups = free;
    users.mutableUsers = on;
    users.users = several {
      password = declare (types.nullOr types.str) null;
      hashedPassword = declare (types.nullOr types.str) null;
      isSystemUser = off;
      description = declare types.str "";
      group = declare types.str "nogroup";
    };
  };
  # What a release says itself, with the strength that it says it.
  always.config = {
    services.openssh.startWhenNeeded = lib.mkIf config.boot.isContainer (lib.mkDefault true);
    system.activationScripts.specialfs = "remount";
    system.build.earlyMountScript = fake "early-mount";
    systemd.services.nscd.serviceConfig.DynamicUser = true;
  };
  early.options.nix.readOnlyStore = on;
  lately.imports = [
    (lib.mkRenamedOptionModule [ "nix" "readOnlyStore" ] [ "boot" "readOnlyNixStore" ])
    (lib.mkRemovedOptionModule [ "xdg" "icons" "enable" ] "There are no icons.")
    (lib.mkRenamedOptionModule [ "services" "timesyncd" "enable" ] [ "services" "clock" "enable" ])
  ];
  lately.options = {
    services.clock.enable = on;
    warnings = list;
    boot.initrd.network.udhcpc.enable = on;
    boot.initrd.systemd = {
      enable = off;
      extraBin = declare (types.attrsOf types.str) { };
      mounts = list;
      network.enable = off;
      network.networks = free;
      network.wait-online.anyInterface = off;
      services = several unit;
    };
    boot.readOnlyNixStore = on;
    boot.swraid.enable = on;
    environment.defaultPackages = declare (types.listOf types.unspecified) [ "rsync" ];
    nix.enable = on;
    users.allowNoPasswordLogin = off;
  };

  system = lib.evalModules {
    modules = [
      always
      (nix + "/nixos/container.nix")
      (nix + "/nixos/guest.nix")
      (nix + "/nixos/node.nix")
      kindFile.module
      role
      {
        nxc.guest = guest;
        _module.args = { inherit pkgs; };
      }
    ]
    ++ [ (if later then lately else early) ];
  };
  # A removed option throws when it is read; setting it fails an assertion.
  config = removeAttrs system.config [ "xdg" ];
in
{
  inherit lib pkgs config;
  # The whole of it, so that every definition is checked.
  checked = builtins.toJSON config;
  warnings = system.config.warnings or [ ];
  failed = map (assertion: assertion.message) (
    builtins.filter (assertion: !assertion.assertion) system.config.assertions
  );
  # roles: name -> kernel and initrd by name, or null.
  image =
    roles:
    kindFile.image {
      inherit pkgs;
      name = "composition";
      inherit (system.config.nxc) guest;
      roles = builtins.mapAttrs (role: boot: {
        toplevel = fake "system-${role}";
        kernel = if boot == null then null else fake "kernel-${boot}";
        initrd = if boot == null then null else fake "initrd-${boot}";
      }) roles;
    };
}
