# What nixpkgs calls otherwise than Debian: nixpkgs attribute -> Debian package(s).
# A name that both share needs a line only so that it is known without the mirror's list of names.
# `command` is the main program where it is not named like the attribute (`lib.getExe`).
let
  same = name: {
    inherit name;
    value = [ name ];
  };
  sharedNames = builtins.listToAttrs (
    map same [
      "acl"
      "attr"
      "autoconf"
      "automake"
      "bash"
      "bc"
      "bind9-dnsutils"
      "bison"
      "busybox"
      "bzip2"
      "chrony"
      "cmake"
      "conntrack"
      "coreutils"
      "cpio"
      "cron"
      "curl"
      "dash"
      "diffutils"
      "dmidecode"
      "dnsmasq"
      "docker-compose"
      "dstat"
      "e2fsprogs"
      "ethtool"
      "fakeroot"
      "file"
      "findutils"
      "fio"
      "flex"
      "gawk"
      "gcc"
      "gdb"
      "gettext"
      "gfortran"
      "git"
      "gnuplot"
      "gzip"
      "haproxy"
      "hello"
      "hostname"
      "htop"
      "hwloc"
      "iotop"
      "ipmitool"
      "iproute2"
      "ipset"
      "iptables"
      "jq"
      "keyutils"
      "kmod"
      "less"
      "libtool"
      "locales"
      "lshw"
      "lsof"
      "lz4"
      "m4"
      "mawk"
      "memcached"
      "moreutils"
      "mpich"
      "mtr"
      "nano"
      "ncdu"
      "nfs-common"
      "nfs-kernel-server"
      "nginx"
      "nginx-full"
      "nginx-light"
      "nmap"
      "numactl"
      "openmpi-bin"
      "openssh-client"
      "openssh-server"
      "openssl"
      "parallel"
      "patch"
      "pciutils"
      "perl"
      "pkg-config"
      "procps"
      "psmisc"
      "pv"
      "python3"
      "rabbitmq-server"
      "redis-server"
      "rsync"
      "rt-tests"
      "ruby"
      "screen"
      "sed"
      "smartmontools"
      "socat"
      "sqlite3"
      "stow"
      "strace"
      "stress"
      "stress-ng"
      "sudo"
      "sysbench"
      "sysstat"
      "taktuk"
      "tar"
      "tcpdump"
      "time"
      "tmux"
      "traceroute"
      "tree"
      "tzdata"
      "unzip"
      "util-linux"
      "valgrind"
      "vim"
      "wget"
      "wrk"
      "xxd"
      "zip"
      "zsh"
      "zstd"
    ]
  );
in
{
  packages = sharedNames // {
    apacheHttpd = [ "apache2" ];
    bashInteractive = [ "bash" ];
    bashNonInteractive = [ "bash" ];
    binutils = [ "binutils" ];
    bridge-utils = [ "bridge-utils" ];
    cacert = [ "ca-certificates" ];
    clustershell = [ "clustershell" ];
    coreutils-full = [ "coreutils" ];
    cpufrequtils = [ "linux-cpupower" ];
    cyrus_sasl = [ "libsasl2-2" ];
    dnsutils = [ "bind9-dnsutils" ];
    bind = [ "bind9" ];
    docker = [ "docker.io" ];
    dool = [ "dstat" ];
    fftw = [ "libfftw3-dev" ];
    gitFull = [ "git" ];
    gitMinimal = [ "git" ];
    glibc = [ "libc6" ];
    gnugrep = [ "grep" ];
    gnumake = [ "make" ];
    gnupg = [ "gnupg" ];
    gnused = [ "sed" ];
    gnutar = [ "tar" ];
    go = [ "golang-go" ];
    hdf5 = [ "libhdf5-dev" ];
    inetutils = [
      "inetutils-telnet"
      "inetutils-ftp"
      "hostname"
    ];
    iperf2 = [ "iperf" ];
    iperf = [ "iperf3" ];
    iperf3 = [ "iperf3" ];
    iproute = [ "iproute2" ];
    iputils = [
      "iputils-ping"
      "iputils-tracepath"
      "iputils-arping"
    ];
    jdk = [ "default-jdk-headless" ];
    jre = [ "default-jre-headless" ];
    jre_headless = [ "default-jre-headless" ];
    libxml2 = [ "libxml2-utils" ];
    lua = [ "lua5.4" ];
    lua5_4 = [ "lua5.4" ];
    man = [ "man-db" ];
    mariadb = [ "mariadb-server" ];
    mysql = [ "mariadb-server" ];
    netcat = [ "netcat-openbsd" ];
    netcat-gnu = [ "netcat-traditional" ];
    netcat-openbsd = [ "netcat-openbsd" ];
    nettools = [ "net-tools" ];
    net-tools = [ "net-tools" ];
    nfs-utils = [ "nfs-common" ];
    nftables = [ "nftables" ];
    nodejs = [ "nodejs" ];
    openblas = [ "libopenblas-dev" ];
    openldap = [ "ldap-utils" ];
    openmpi = [
      "openmpi-bin"
      "libopenmpi-dev"
    ];
    openssh = [ "openssh-client" ];
    p7zip = [ "p7zip-full" ];
    php = [ "php-cli" ];
    pixz = [ "pixz" ];
    python311 = [ "python3" ];
    python3Full = [ "python3" ];
    python3Minimal = [ "python3" ];
    qemu-utils = [ "qemu-utils" ];
    rabbitmq = [ "rabbitmq-server" ];
    redis = [ "redis-server" ];
    rename = [ "rename" ];
    ripgrep = [ "ripgrep" ];
    fd = [ "fd-find" ];
    shadow = [ "passwd" ];
    slurm = [
      "slurm-client"
      "slurmd"
      "slurmctld"
    ];
    sqlite = [ "sqlite3" ];
    squashfsTools = [ "squashfs-tools" ];
    systemd = [ "systemd" ];
    valkey = [ "redis-server" ];
    vde2 = [ "vde2" ];
    vimHugeX = [ "vim" ];
    vim-full = [ "vim-nox" ];
    which = [ "debianutils" ];
    xz = [ "xz-utils" ];
    zlib = [ "zlib1g-dev" ];
  };

  commands = {
    bashInteractive = "bash";
    cacert = "update-ca-certificates";
    coreutils = "ls";
    cpufrequtils = "cpupower";
    dnsutils = "dig";
    bind9-dnsutils = "dig";
    fd = "fdfind";
    findutils = "find";
    gnugrep = "grep";
    gnumake = "make";
    gnused = "sed";
    gnutar = "tar";
    gnupg = "gpg";
    git = "git";
    gitMinimal = "git";
    inetutils = "telnet";
    iperf = "iperf3";
    iproute2 = "ip";
    iputils = "ping";
    jre = "java";
    mariadb = "mariadbd";
    netcat = "nc";
    netcat-openbsd = "nc";
    nettools = "ifconfig";
    nfs-utils = "mount.nfs";
    nginx-light = "nginx";
    openmpi = "mpirun";
    openssh = "ssh";
    p7zip = "7z";
    procps = "ps";
    psmisc = "killall";
    python3 = "python3";
    redis = "redis-server";
    ripgrep = "rg";
    sqlite = "sqlite3";
    util-linux = "mount";
  };

  # nixpkgs attributes that Debian bookworm has nothing for; the message says what to do instead.
  absent = {
    cri-tools = "Debian does not have it; use --base nixos";
    ior = "compile it in a `runCommand', or use --base nixos";
    k3s = "Debian does not have it; use --base nixos";
    kubernetes = "Debian does not have it; use --base nixos";
    kubectl = "Debian does not have it; use --base nixos";
    kubernetes-helm = "Debian does not have it; use --base nixos";
    linuxPackages = "kernels are chosen by the guest; use --base nixos for one of your own";
    nur = "the Nix User Repository builds with nixpkgs; use --base nixos";
    mkShell = "development shells are no part of a composition";
    dockerTools = "nxc builds images itself";
    nixos = "use --base nixos";
    poetry2nix = "use --base nixos";
  };
}
