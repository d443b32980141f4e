# One evaluated role as the document that the builder reads; the contract is docs/nix-debian.md.
{ lib }:
{ config, options, ... }:
let
  # A mistake in what a role says is told even where nothing uses it, as in a firewall that is off.
  stated = lib.filter (
    option:
    option.isDefined
    && builtins.any isOthers option.files
    && !builtins.any isOthers option.declarations
  ) (lib.collect lib.isOption (removeAttrs options [ "_module" ]));
  # An option of the composition's own may hold anything, pkgs too: that has no end.
  isOthers = file: !(lib.hasPrefix (toString ../.) (toString file));
  forced =
    value:
    if builtins.isList value then
      builtins.all forced value
    else if builtins.isAttrs value && !lib.isDerivation value then
      builtins.all forced (builtins.attrValues value)
    else
      builtins.seq value true;
  sound = builtins.all (option: forced option.value) stated;

  sorted = list: lib.sort (a: b: a < b) (lib.unique list);
  failed = builtins.filter (item: !item.assertion) config.assertions;

  fileDocument =
    prefix: file:
    let
      source = "${file.source}";
      mode = if file.mode == "direct-symlink" then "symlink" else file.mode;
      owner = name: id: if name == "root" && id != 0 then toString id else name;
      content =
        if file.text != null && file.source != null then
          throw "nxc: /${prefix}${file.target}: both text and source are given"
        else if file.text != null then
          { inherit (file) text; }
        else if file.source != null then
          { inherit source; }
        else
          throw "nxc: /${prefix}${file.target}: neither text nor source is given";
    in
    lib.nameValuePair (prefix + lib.removePrefix "/" file.target) (
      content
      // {
        # A text has no store path to link to.
        mode = if file.text != null && mode == "symlink" then "0444" else mode;
        user = owner file.user file.uid;
        group = owner file.group file.gid;
      }
    );
  filesOf =
    prefix: files:
    lib.listToAttrs (map (fileDocument prefix) (lib.filter (file: file.enable) (builtins.attrValues files)));

  isPackage = item: (item.nxcKind or "") == "package";
  path = map (item: "${item}") (lib.filter (item: !isPackage item) config.environment.systemPackages);

  visible = {
    packages = sorted config.nxc.debian.packages;
    inherit path;
    files = filesOf "etc/" config.environment.etc // filesOf "" config.nxc.debian.files;
    inherit (config.nxc.debian) units;
    inherit (config.nxc.debian.accounts) users groups;
    kernelParams = config.boot.kernelParams;
    kernelModules = lib.unique (config.boot.kernelModules ++ config.nxc.debian.kernelModules);
    firewall = config.networking.firewall.enable;
    needs = lib.unique config.nxc.needs;
    warnings = lib.unique config.warnings;
    failedAssertions = map (item: item.message) failed;
  };

  # What every string of the role mentions: derivations to realise, and files of the composition.
  context = builtins.getContext (builtins.toJSON visible);
  isDerivationPath = name: context.${name} ? outputs;
in
assert sound;
visible
// {
  # Of no image: what it mentions is not built.
  inherit (config.nxc) container;
  derivations = builtins.filter isDerivationPath (builtins.attrNames context);
  sources = builtins.filter (name: !isDerivationPath name) (builtins.attrNames context);
}
