# Boot images: roles whose kernel and initrd are equal share one.
{ lib }:
let
  # Named by the content alone: a role that comes or goes renames nothing. Null for a container.
  imageOf =
    role:
    if role.kernel == null then
      null
    else
      builtins.substring 0 12 (
        builtins.hashString "sha256" (
          builtins.unsafeDiscardStringContext "${role.kernel.outPath} ${role.initrd.outPath}"
        )
      );
in
{
  # What the document says of each role.
  describe = builtins.mapAttrs (
    _: role: {
      toplevel = "${role.toplevel}";
      init = "${role.toplevel}/init";
      boot = imageOf role;
    }
  );

  # { image = { kernel, initrd }; }: real files, not links, so that they are read in any store. `contents' are files
  # that each initrd gets, { name = path; }: compressed already where they are large, so stored as they are.
  images =
    {
      pkgs,
      roles,
      name,
      contents ? { },
    }:
    let
      bootable = builtins.filter (role: role.kernel != null) (builtins.attrValues roles);
      # The first role of each image stands for it. A system knows its own kernel by one name in every release.
      make =
        image: role:
        pkgs.runCommand "${name}-boot-${image}" { nativeBuildInputs = [ pkgs.cpio ]; } ''
          mkdir $out
          cp -L ${role.toplevel}/kernel $out/kernel
          cp -L ${role.toplevel}/initrd $out/initrd
          chmod u+w $out/initrd
          # The kernel wants each archive to start 4-byte aligned.
          ${lib.concatStrings (
            lib.mapAttrsToList (file: path: ''
              truncate -s %4 $out/initrd
              ln -s ${path} ${file}
              echo ${file} | cpio -oL -H newc -R +0:+0 --reproducible --quiet >>$out/initrd
            '') contents
          )}
          truncate -s %4 $out/initrd
          chmod 444 $out/*
        '';
      made = builtins.mapAttrs make (
        builtins.listToAttrs (
          map (role: {
            name = imageOf role;
            value = role;
          }) bootable
        )
      );
    in
    builtins.mapAttrs (_: files: {
      kernel = "${files}/kernel";
      initrd = "${files}/initrd";
    }) made;
}
