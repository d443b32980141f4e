# What a booted stand-in runs on: nothing, or the kernel and the programs of a Debian system. Whoever boots one
# brings it as the folder machine beside default.nix: usr, busybox, vmlinuz, modules, release.
{ final, lib }:
let
  isGiven = builtins.pathExists ../machine;
  given =
    name:
    builtins.path {
      inherit name;
      path = ../machine + "/${name}";
    };
  release = lib.removeSuffix "\n" (builtins.readFile ../machine/release);
in
{
  # usr: programs with their libraries; busybox: static.
  debianMachine =
    if isGiven then
      final.runCommand "debian-machine" { } ''
        mkdir $out
        cp -a ${given "usr"} $out/usr
        cp ${given "busybox"} $out/busybox
        chmod -R u+w $out/usr
        chmod 0755 $out/busybox
        ln -s ${final.linux}/lib/modules $out/usr/lib/modules
      ''
    else
      final.emptyDirectory;
  stage2Shell = if isGiven then "${final.debianMachine}/busybox sh" else final.runtimeShell;

  # A small ramdisk: busybox, those of the named modules that the kernel has, and init.
  makeStage1 =
    {
      init,
      kernel,
      modules,
      extraUtilsCommands,
    }:
    final.runCommand "initrd-linux" { inherit init kernel modules extraUtilsCommands; } ''
      mkdir -p root/bin root/modules $out
      cp $init root/init
      ${lib.optionalString isGiven ''
        cp ${final.debianMachine}/busybox root/bin/busybox
        for applet in $(root/bin/busybox --list); do
          [ -e root/bin/$applet ] || ln -s busybox root/bin/$applet
        done
      ''}
      /usr/bin/python3 ${./modules.py} $kernel/lib/modules root/modules $modules
      bin_out=$PWD/root
      mkdir -p root/nix
      find root -exec touch -h -d @1 {} +
      (cd root && find . | LC_ALL=C sort | cpio --quiet -o -H newc --reproducible -R 0:0) >initrd
      gzip -9n <initrd >$out/initrd
    '';
}
// lib.optionalAttrs isGiven {
  linux =
    final.runCommand "linux-${release}"
      {
        passthru = {
          version = release;
          modDirVersion = release;
          features = { };
        };
      }
      ''
        mkdir -p $out/lib
        cp ${given "vmlinuz"} $out/bzImage
        cp -r ${given "modules"} $out/lib/modules
      '';
}
