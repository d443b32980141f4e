# One role per group of options; tests/unit/test_nix_debian.py says what each must give.
{ pkgs, lib, ... }:
{
  roles = {
    modules = {
      imports = [
        {
          time.timeZone = lib.mkDefault "Asia/Tokyo";
          boot.kernelParams = [ "b" ];
        }
      ];
      config = lib.mkMerge [
        { time.timeZone = "UTC"; }
        (lib.mkIf false { boot.kernelParams = [ "c" ]; })
        { boot.kernelParams = lib.mkBefore [ "a" ]; }
      ];
    };

    mention.environment.etc.x.text = "${pkgs.curl}/bin/curl";

    nested.environment.systemPackages = [ (pkgs.writeShellScriptBin "go" "${pkgs.jq}/bin/jq") ];

    sources.environment.etc = {
      f.source = ./file;
      g = {
        source = ./file;
        mode = "0600";
      };
      d.text = "${./folder}/inner";
    };

    brick.environment.systemPackages = [
      (pkgs.writers.writePython3Bin "b" { libraries = [ pkgs.python3Packages.pyyaml ]; } "import yaml")
    ];

    lib.environment.etc.x.text = "${lib.getExe pkgs.ripgrep} ${lib.makeBinPath [ pkgs.jq ]}";

    services.systemd.services = {
      hello = {
        description = "greets";
        script = "echo hi";
        preStart = "true";
        path = [ pkgs.jq ];
        wantedBy = [ "multi-user.target" ];
        requiredBy = [ "x.target" ];
        after = [
          "a.service"
          "b.service"
        ];
        environment = {
          A = "b c";
          N = null;
        };
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          Group = [
            "x"
            "y"
          ];
        };
        unitConfig.ConditionPathExists = "/etc";
        startAt = "daily";
      };
      nginx.serviceConfig.MemoryMax = "1G";
      cron.enable = false;
    };

    quiet = {
      services.nginx.enable = true;
      systemd.services.nginx.wantedBy = lib.mkForce [ ];
      security.pam.loginLimits = [
        {
          domain = "*";
          item = "memlock";
          value = "unlimited";
        }
      ];
      # An option of the composition itself, with a value that has no end.
      imports = [ { options.mine = lib.mkOption { type = lib.types.raw; }; } ];
      mine = pkgs;
    };

    # A start command given to a unit that Debian ships takes the place of its own.
    replaced = {
      services.nginx.enable = true;
      systemd.services.nginx.serviceConfig.ExecStart = "/bin/true";
    };

    timers.systemd = {
      timers.t = {
        wantedBy = [ "timers.target" ];
        timerConfig.OnBootSec = "1min";
      };
      sockets.s.listenStreams = [ "80" ];
      targets.go.wants = [ "s.socket" ];
    };

    environment.environment = {
      variables = {
        A = "1";
        P = [
          "/a"
          "/b"
        ];
      };
      sessionVariables.S = "s";
      shellAliases.ll = "ls -l";
      etc."a/b" = {
        text = "x";
        mode = "0640";
        user = "bob";
        gid = 5;
      };
      etc.off = {
        enable = false;
        text = "";
      };
    };

    users.users = {
      users = {
        bob = {
          isNormalUser = true;
          uid = 1234;
          extraGroups = [ "wheel" ];
          shell = pkgs.zsh;
          openssh.authorizedKeys.keys = [ "ssh-ed25519 AAA" ];
          hashedPassword = "$y$x";
        };
        svc = {
          isSystemUser = true;
          group = "svc";
        };
        root.openssh.authorizedKeys.keys = [ "ssh-ed25519 BBB" ];
      };
      groups.svc.gid = 77;
    };

    unsafe.users.users = {
      plain = {
        isNormalUser = true;
        password = "x";
      };
      initial = {
        isNormalUser = true;
        initialPassword = "x";
      };
      empty = {
        isNormalUser = true;
        hashedPassword = "";
      };
      neither = { };
    };

    firewall.networking.firewall = {
      enable = true;
      allowedTCPPorts = [
        80
        22
        80
      ];
      allowedUDPPorts = [ 53 ];
      allowedTCPPortRanges = [
        {
          from = 1000;
          to = 1010;
        }
      ];
      allowPing = false;
      interfaces.eth1.allowedTCPPorts = [ 9 ];
    };

    open.networking.firewall.allowedTCPPorts = [ 80 ];

    openssh = {
      services.openssh = {
        enable = true;
        ports = [
          22
          2022
        ];
        permitRootLogin = "no";
        settings = {
          PasswordAuthentication = false;
          AllowUsers = [
            "a"
            "b"
          ];
          Ciphers = [
            "x"
            "y"
          ];
          MaxAuthTries = 3;
        };
      };
      networking.firewall.enable = true;
    };

    nginx.services.nginx = {
      enable = true;
      virtualHosts."a.b" = {
        root = "/srv";
        default = true;
        serverAliases = [ "c" ];
        extraConfig = "autoindex on;";
        listen = [
          {
            addr = "0.0.0.0";
            port = 8080;
          }
        ];
        locations = {
          "/x".alias = "/y";
          "~ \\.php$" = {
            tryFiles = "$uri =404";
            priority = 1;
          };
          "/r".return = 204;
        };
      };
    };

    nfs-server.services.nfs.server = {
      enable = true;
      exports = "/srv *(rw)";
      createMountPoints = true;
    };

    nfs-client.fileSystems."/m n" = {
      device = "s:/srv";
      fsType = "nfs";
      options = [ "ro" ];
    };

    system = {
      boot = {
        kernelModules = [ "dummy" ];
        kernelParams = [ "quiet" ];
        kernel.sysctl = {
          "net.ipv4.ip_forward" = true;
          "a.b" = null;
        };
      };
      time.timeZone = "Europe/Paris";
      i18n.defaultLocale = "fr_FR.UTF-8";
      networking = {
        hosts."10.0.0.9" = [
          "far"
          "away"
        ];
        extraHosts = "10.0.0.8 near";
        hostName = "h";
      };
      systemd.tmpfiles.rules = [ "d /x 0755 root root -" ];
      fileSystems."/".device = "x";
      system.stateVersion = "24.05";
    };

    told = {
      assertions = [
        {
          assertion = 1 == 2;
          message = "no" + "pe";
        }
      ];
      warnings = [ "careful" ];
      i18n.defaultLocale = "xx_XX";
    };
  };
}
