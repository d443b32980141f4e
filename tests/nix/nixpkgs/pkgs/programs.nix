# Packages: links to this machine's programs, or one-line scripts that stand for a program.
{ final, lib }:
let
  # Links to programs that lie in the same place on this machine and on the booted one.
  hostProgram =
    name:
    {
      commands ? [ name ],
      folder ? "/usr/bin",
      version ? "1.0",
    }:
    final.runCommand "${name}-${version}"
      {
        inherit commands folder version;
        pname = name;
        meta.mainProgram = builtins.head commands;
      }
      ''
        mkdir -p $out/bin
        for command in $commands; do
          ln -s $folder/$command $out/bin/$command
        done
      '';

  # A program that says who it is.
  stub =
    name: meta:
    final.mkDerivation {
      pname = name;
      version = "1.0";
      meta = {
        mainProgram = name;
      }
      // meta;
      buildCommand = ''
        mkdir -p $out/bin $out/share/doc
        printf '#!/bin/sh\necho %s "$@"\n' ${name} > $out/bin/${name}
        chmod +x $out/bin/${name}
        echo "${name} is a stand-in" > $out/share/doc/${name}
      '';
    };

  stubs = lib.genAttrs [
    "curl"
    "etcd"
    "git"
    "glibcLocales"
    "htop"
    "iperf2"
    "k3s"
    "nano"
    "nfs-utils"
    "nginx"
    "openmpi"
    "postgresql"
    "rsync"
    "taktuk"
    "vim"
    "wget"
    "wrk"
  ] (name: stub name { });

  tools = lib.genAttrs [
    "bash"
    "busybox"
    "cpio"
    "curlFull"
    "dash"
    "gawk"
    "gnugrep"
    "gnused"
    "gzip"
    "jq"
    "perl"
    "procps"
    "util-linux"
    "xz"
    "zstd"
  ] (name: hostProgram name { commands = commands.${name} or [ name ]; });
  commands = {
    bash = [
      "bash"
      "sh"
    ];
    curlFull = [ "curl" ];
    gawk = [ "awk" ];
    gnugrep = [ "grep" ];
    gnused = [ "sed" ];
    gzip = [
      "gzip"
      "gunzip"
      "zcat"
    ];
    procps = [
      "ps"
      "kill"
    ];
    util-linux = [
      "findmnt"
      "mount"
      "mountpoint"
      "setsid"
      "umount"
    ];
  };
in
stubs
// tools
// {
  inherit hostProgram;
  hello = final.mkDerivation {
    pname = "hello";
    version = "2.12";
    buildCommand = ''
      mkdir -p $out/bin
      printf '#!/bin/sh\necho "Hello, world!"\n' > $out/bin/hello
      chmod +x $out/bin/hello
    '';
  };
  # Proprietary, for those who test what is said of that.
  steam = stub "steam" {
    license = {
      free = false;
      fullName = "Unfree";
    };
  };
  coreutils = hostProgram "coreutils" {
    commands = lib.splitString " " (
      "[ base64 basename cat chmod chown chroot cp cut date dd df dirname du echo env expr false "
      + "head id install ln ls md5sum mkdir mkfifo mknod mktemp mv nproc printf pwd readlink "
      + "realpath rm rmdir seq sha256sum sleep sort split stat stty sync tac tail tee test timeout "
      + "touch tr true truncate tty uname uniq wc who yes"
    );
  };
  findutils = hostProgram "findutils" {
    commands = [
      "find"
      "xargs"
    ];
  };
  getent = hostProgram "getent" { };
  hostname = hostProgram "hostname" { };
  gnutar = hostProgram "gnutar" { commands = [ "tar" ]; };
  squashfsTools = hostProgram "squashfs-tools" {
    commands = [
      "mksquashfs"
      "unsquashfs"
    ];
  };
  squashfs-tools-ng = final.squashfsTools;
  iproute2 = hostProgram "iproute2" {
    commands = [ "ip" ];
    folder = "/sbin";
  };
  iproute = final.iproute2;
  kmod = hostProgram "kmod" {
    commands = [
      "modprobe"
      "insmod"
      "lsmod"
    ];
    folder = "/sbin";
  };
  openssh = final.symlinkJoin {
    name = "openssh-9";
    paths = [
      (hostProgram "openssh-client" {
        commands = [
          "ssh"
          "ssh-keygen"
        ];
      })
      (hostProgram "openssh-server" {
        commands = [ "sshd" ];
        folder = "/usr/sbin";
      })
    ];
  };
  nix = hostProgram "nix" {
    commands = [
      "nix"
      "nix-build"
      "nix-env"
      "nix-instantiate"
      "nix-store"
    ];
  };
  shadow = final.hostProgram "shadow" { commands = [ "passwd" ]; } // {
    su = final.hostProgram "su" { };
  };
  systemd = hostProgram "systemd" {
    commands = [
      "journalctl"
      "systemctl"
      "systemd-tmpfiles"
      "udevadm"
    ];
  } // {
    interfaceVersion = 2;
  };
  utillinux = final.util-linux;
  dockerTools = throw "the stand-in nixpkgs has no dockerTools";
}
