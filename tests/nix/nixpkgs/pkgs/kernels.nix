# Kernels: files that only look like one. With a machine (machine.nix) `linux' is that of a Debian system.
{ final, lib }:
let
  stub =
    version:
    final.runCommand "linux-${version}"
      {
        passthru = {
          inherit version;
          modDirVersion = version;
          features = { };
          kernelAtLeast = lib.versionAtLeast version;
          kernelOlder = lib.versionOlder version;
          target = "bzImage";
        };
      }
      ''
        mkdir -p $out/lib/modules/${version}
        echo "a kernel, ${version}" > $out/bzImage
        touch $out/lib/modules/${version}/modules.dep
      '';

  packagesFor = kernel: {
    inherit kernel;
    inherit (final) stdenv;
    extend = _: packagesFor kernel;
    perf = final.hostProgram "perf" { };
  };
in
{
  linuxPackagesFor = packagesFor;
  linux = stub "6.1.0";
  linux_latest = stub "6.6.0";
  linux_5_15 = stub "5.15.0";
  linuxPackages = packagesFor final.linux;
  linuxPackages_latest = packagesFor final.linux_latest;
  linuxPackages_5_15 = packagesFor final.linux_5_15;
  linuxKernel = {
    kernels = {
      inherit (final) linux_5_15 linux_latest;
    };
    packages = {
      linux_5_15 = final.linuxPackages_5_15;
      linux_latest = final.linuxPackages_latest;
    };
  };
}
