# Nearly every portable option, on a machine that is really booted: `nxc up --test tests/nix/debian/live`.
{ pkgs, lib, ... }:
let
  joined = pkgs.symlinkJoin {
    name = "joined";
    paths = [
      pkgs.jq
      (pkgs.writeShellScriptBin "nowhere" "echo now")
    ];
  };
  site = pkgs.runCommand "site" { nativeBuildInputs = [ pkgs.jq ]; } ''
    mkdir $out
    echo '{ "a": 1 }' | jq -c . > $out/index.html
  '';
in
{
  roles.server = {
    services = {
      nginx = {
        enable = true;
        virtualHosts.default.root = site;
      };
      openssh = {
        enable = true;
        ports = [ 2022 ];
      };
    };
    networking = {
      firewall = {
        enable = true;
        allowedTCPPorts = [ 80 ];
      };
      hosts."10.9.9.9" = [ "far" ];
      extraHosts = "10.9.9.8 near";
    };
    users = {
      users.bob = {
        isNormalUser = true;
        uid = 1234;
        extraGroups = [ "wheel" ];
        shell = pkgs.zsh;
      };
      users.svc = {
        isSystemUser = true;
        group = "svc";
      };
      groups.svc.gid = 877;
    };
    i18n.defaultLocale = "fr_FR.UTF-8";
    time.timeZone = "Europe/Paris";
    boot = {
      kernel.sysctl."net.ipv4.ip_forward" = true;
      kernelModules = [ "dummy" ];
      kernelParams = [ "nxc.test=1" ];
    };
    environment = {
      variables.GREETING = "hello $((1 + 1))";
      etc.secret = {
        text = "x";
        mode = "0640";
        user = "svc";
        group = "svc";
      };
      etc.command.text = lib.getExe pkgs.ripgrep;
      systemPackages = [
        joined
        pkgs.netcat
      ];
    };
    systemd = {
      tmpfiles.rules = [ "d /var/data 0750 svc svc -" ];
      services = {
        once = {
          wantedBy = [ "multi-user.target" ];
          path = [ pkgs.jq ];
          environment.WHO = "wo rld";
          preStart = "echo before > /run/before";
          script = ''echo "hi $WHO $(echo 3 | jq .)" > /run/once'';
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
          };
        };
        tick.script = "touch /run/ticked";
        nginx.serviceConfig.MemoryMax = "123M";
        cron.enable = false;
      };
      timers.tick = {
        wantedBy = [ "timers.target" ];
        timerConfig.OnBootSec = "1s";
      };
    };
  };

  roles.client.environment.systemPackages = [
    pkgs.curl
    pkgs.netcat
  ];

  testScript = ''
    start_all()
    server.wait_for_unit("multi-user.target")
    server.wait_for_unit("nginx.service")
    server.wait_for_file("/run/ticked")

    with subtest("web and firewall"):
        assert '{"a":1}' in client.succeed("curl -sSf http://server/")
        server.succeed("systemd-run --unit=listen nc -lk 8080")
        server.wait_for_open_port(8080)
        client.fail("nc -z -w 3 server 8080")
        client.succeed("nc -z -w 3 server 2022")

    for command, said in {
        "id bob": "uid=1234(bob) gid=100(users)",
        "id --groups --name bob": "wheel",
        "getent passwd bob": "/bin/zsh",
        "getent group svc": "877",
        "stat -c '%U:%G %a' /etc/secret": "svc:svc 640",
        "stat -c '%U:%G %a' /var/data": "svc:svc 750",
        "stat -c '%U %a' /home/bob": "bob 700",
        "cat /run/once": "hi wo rld 3",
        "cat /run/before": "before",
        "nowhere": "now",
        "$(cat /etc/command) --version": "ripgrep",
        "systemctl show -p MemoryMax nginx": str(123 * 1024 * 1024),
        "systemctl is-enabled cron || true": "masked",
        "sysctl -n net.ipv4.ip_forward": "1",
        "cat /proc/cmdline": "nxc.test=1",
        "lsmod": "dummy",
        "getent hosts far near": "10.9.9.8",
        "echo $GREETING $LANG": "hello 2 fr_FR.UTF-8",
        "date -d @0 +%A": "jeudi",
        "date -d @0 +%z": "+0100",
        "systemctl is-active sshd": "active",
    }.items():
        found = server.succeed(command)
        assert said in found, f"{command}: {found}"

    for machine in (server, client):
        machine.succeed("test -z \"$(systemctl --failed --no-legend)\"")
    assert "C.UTF-8" in client.succeed("echo $LANG")
  '';
}
