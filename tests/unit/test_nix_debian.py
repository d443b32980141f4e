"""The Nix side of the Debian base: packages, files and options of a role, as the builder is told."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.debian_evaluator import CASES, NIX, ROOT, Document, Evaluator, has_lines, nix

__all__ = ["nix"]  # fixtures


@pytest.fixture(scope="module")
def roles(nix: Evaluator) -> Document:
    """The roles of tests/nix/debian/roles.nix, evaluated once."""
    documents: Document = nix.document(CASES / "roles.nix")["roles"]
    return documents


def test_table_of_options_is_current() -> None:
    argv = ("nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://")
    done = subprocess.run(
        (*argv, str(NIX / "debian/options-doc.nix")), capture_output=True, text=True, timeout=60, check=True
    )
    page = (ROOT / "docs/options.md").read_text()
    assert json.loads(done.stdout) == page[page.index("| `assertions`") :]


def test_module_system_reaches_roles(roles: Document) -> None:
    role = roles["modules"]
    assert role["files"]["etc/localtime"]["source"] == "/usr/share/zoneinfo/UTC"
    assert role["kernelParams"] == ["a", "b"]


# Packages and files


def test_packages_come_by_name_by_table_and_by_the_names_of_the_mirror(nix: Evaluator) -> None:
    names = nix.home / "names.json"
    names.write_text(json.dumps(["libfoo-dev", "g++", "python3-zzz"]))
    composition = """{ pkgs, ... }: { roles.one.environment.systemPackages = with pkgs; [
      curl openmpi libfoo-dev libfoo_dev pkgs."g++" python3Packages.zzz
      (python3.withPackages (p: [ p.numpy p.pyyaml ])) ]; }"""
    role = nix.document(composition, "--argstr", "packageNames", str(names))["roles"]["one"]
    expected = "curl g++ libfoo-dev libopenmpi-dev openmpi-bin python3 python3-numpy python3-yaml python3-zzz"
    assert role["packages"] == expected.split()
    assert role["path"] == []


@pytest.mark.parametrize("text", ["ab\njq\n", '{"ab": 1, "jq": 1}', '["ab", "jq"]'])
def test_names_of_the_mirror_may_be_lines_or_json(nix: Evaluator, text: str) -> None:
    names = nix.home / "some-names"
    names.write_text(text)
    composition = "{ pkgs, ... }: { roles.one.environment.systemPackages = [ pkgs.ab ]; }"
    document = nix.document(composition, "--argstr", "packageNames", str(names))
    assert document["roles"]["one"]["packages"] == ["ab"]


def test_a_package_mentioned_in_a_text_is_a_derivation_of_the_role(nix: Evaluator, roles: Document) -> None:
    role = roles["mention"]
    (path,) = role["derivations"]
    assert re.fullmatch(r"/nix/store/\w{32}-curl/bin/curl", role["files"]["etc/x"]["text"])
    written = nix.derivation(path)
    assert '("nxcKind","package")' in written
    assert '("debian","curl")' in written


def test_nested_mentions_are_in_the_derivations(nix: Evaluator, roles: Document) -> None:
    role = roles["nested"]
    (path,) = role["derivations"]
    written = nix.derivation(path)
    assert re.search(r"\w{32}-jq\.drv", written)
    assert '("destination","/bin/go")' in written
    assert '("executable","1")' in written
    assert "#!/bin/bash" in written
    assert re.fullmatch(r"/nix/store/\w{32}-go", role["path"][0])


def test_files_of_the_composition_travel(nix: Evaluator, roles: Document) -> None:
    role = roles["sources"]
    assert sorted(path.split("-", 1)[1] for path in role["sources"]) == ["file", "folder"]
    assert role["files"]["etc/f"]["mode"] == "symlink"
    assert role["files"]["etc/f"]["source"] in role["sources"]
    assert role["files"]["etc/g"]["mode"] == "0600"
    assert nix.derivation(role["files"]["etc/d"]["text"]) == "inner"


def test_writers_give_derivations_of_the_kinds_the_builder_knows(nix: Evaluator) -> None:
    document = nix.document(CASES / "writers.nix")["roles"]
    assert set(document) == {"text", "command", "join"}
    for kind, role in document.items():
        assert len(role["derivations"]) == len(role["path"])
        for path in role["derivations"]:
            assert f'("nxcKind","{kind}")' in nix.derivation(path)


def test_python_brick_brings_its_libraries(nix: Evaluator, roles: Document) -> None:
    written = nix.derivation(roles["brick"]["derivations"][0])
    assert "python3-yaml.drv" in written
    assert "#!/usr/bin/python3" in written


def test_lib_finds_the_programs_of_packages(roles: Document) -> None:
    text = roles["lib"]["files"]["etc/x"]["text"]
    assert re.search(r"-ripgrep/bin/rg /nix/store/\w{32}-jq/bin", text)


def test_documents_do_not_depend_on_the_project_folder(nix: Evaluator) -> None:
    text = '{ pkgs, ... }: { roles.a.environment.etc.x.source = pkgs.writeText "x" "y"; }'
    assert nix.document(text) == nix.document(text)


# Options


def test_services(roles: Document) -> None:
    units = roles["services"]["units"]
    text = units["files"]["hello.service"]
    assert text.startswith("[Unit]\n")
    assert has_lines(text, "Description=greets", "After=a.service b.service", "ConditionPathExists=/etc")
    assert has_lines(
        text, 'Environment="A=b c"', "Type=oneshot", "RemainAfterExit=true", "Group=x", "Group=y"
    )
    assert re.search(r"ExecStart=/nix/store/\w{32}-unit-hello-start\n", text)
    assert re.search(r"ExecStartPre=/nix/store/\w{32}-unit-hello-pre-start\n", text)
    assert re.search(r'Environment="PATH=/nix/store/\w{32}-jq/bin:.*:/usr/bin:', text)
    assert units["wants"] == {"multi-user.target": ["hello.service"], "timers.target": ["hello.timer"]}
    assert units["requires"] == {"x.target": ["hello.service"]}
    assert has_lines(units["files"]["hello.timer"], "[Timer]", "OnCalendar=daily")
    assert units["dropins"] == {"nginx.service": "[Service]\nMemoryMax=1G\n"}
    assert units["mask"] == ["cron.service"]


def test_a_start_command_replaces_the_one_of_a_shipped_unit(roles: Document) -> None:
    units = roles["replaced"]["units"]
    assert units["dropins"] == {"nginx.service": "[Service]\nExecStart=\nExecStart=/bin/true\n"}
    assert units["enable"] == ["nginx.service"]


def test_a_shipped_unit_can_be_kept_from_starting(roles: Document) -> None:
    units = roles["quiet"]["units"]
    assert (units["enable"], units["wants"], units["mask"], units["dropins"]) == ([], {}, [], {})
    limits = roles["quiet"]["files"]["etc/security/limits.d/nxc.conf"]["text"]
    assert limits == "* - memlock unlimited\n"


def test_timers_sockets_and_targets(roles: Document) -> None:
    files = roles["timers"]["units"]["files"]
    assert files["t.timer"] == "[Timer]\nOnBootSec=1min\n"
    assert files["s.socket"] == "[Socket]\nListenStream=80\n"
    assert files["go.target"] == "[Unit]\nWants=s.socket\n"


def test_environment(roles: Document) -> None:
    files = roles["environment"]["files"]
    assert files["etc/profile.d/nxc.sh"]["text"] == (
        'export A="1"\nexport LANG="C.UTF-8"\nexport P="/a:/b"\nexport S="s"\n'
    )
    assert files["etc/environment"]["text"] == 'LANG="C.UTF-8"\nS="s"\n'
    assert "alias -- ll='ls -l'" in files["etc/profile.d/nxc-interactive.sh"]["text"]
    assert files["etc/a/b"] == {"text": "x", "mode": "0640", "user": "bob", "group": "5"}
    assert "etc/off" not in files


def test_users_and_groups(roles: Document) -> None:
    role = roles["users"]
    bob, root, svc = role["users"]
    assert (bob["home"], bob["createHome"], bob["group"]) == ("/home/bob", True, "users")
    assert (bob["shell"], bob["uid"], bob["hashedPassword"]) == ("/bin/zsh", 1234, "$y$x")
    assert (root["name"], root["home"], root["shell"]) == ("root", "/root", "/bin/bash")
    assert (svc["isSystemUser"], svc["group"], svc["shell"]) == (True, "svc", "/usr/sbin/nologin")
    groups = {group["name"]: group["gid"] for group in role["groups"]}
    assert groups == {"svc": 77, "wheel": None, "users": None}
    assert role["files"]["etc/ssh/authorized_keys.d/root"]["text"] == "ssh-ed25519 BBB\n"
    assert role["packages"] == ["zsh"]
    assert role["failedAssertions"] == []


def test_unsafe_users_fail_an_assertion(roles: Document) -> None:
    said = "\n".join(roles["unsafe"]["failedAssertions"])
    assert "users.users.plain.password is refused" in said
    assert "users.users.initial.initialPassword is refused" in said
    assert "users.users.empty.hashedPassword is empty" in said
    assert "users.users.neither: exactly one of isNormalUser and isSystemUser" in said


def test_firewall(roles: Document) -> None:
    role = roles["firewall"]
    rules = role["files"]["etc/nxc/firewall.nft"]["text"]
    assert has_lines(rules, "type filter hook input priority filter; policy drop;")
    assert has_lines(rules, "ct state established,related accept", 'iifname "lo" accept')
    assert has_lines(rules, "tcp dport 2200 accept", "tcp dport { 22, 80, 1000-1010 } accept")
    assert has_lines(rules, "udp dport { 53 } accept", 'iifname "eth1" tcp dport { 9 } accept')
    assert "icmp type echo-request accept" not in rules
    assert role["firewall"] is True
    assert role["needs"] == [{"need": "net-admin", "option": "networking.firewall.enable"}]
    assert "Before=network-pre.target" in role["units"]["files"]["nxc-firewall.service"]
    assert role["packages"] == ["nftables"]


def test_firewall_is_off_unless_enabled(roles: Document) -> None:
    role = roles["open"]
    assert (role["firewall"], role["needs"], role["packages"]) == (False, [], [])
    assert role["units"]["files"] == {}


def test_openssh(roles: Document) -> None:
    role = roles["openssh"]
    text = role["files"]["etc/ssh/sshd_config.d/50-nxc.conf"]["text"]
    assert has_lines(text, "Port 22", "Port 2022", "PermitRootLogin no", "PasswordAuthentication no")
    assert has_lines(text, "AllowUsers a b", "Ciphers x,y", "MaxAuthTries 3")
    assert role["units"]["enable"] == ["ssh.service"]
    assert role["units"]["wants"]["ssh.service"] == ["nxc-ssh-host-keys.service"]
    assert "tcp dport { 22, 2022 } accept" in role["files"]["etc/nxc/firewall.nft"]["text"]


def test_nginx(roles: Document) -> None:
    role = roles["nginx"]
    config = role["files"]["etc/nginx/nginx.conf"]["text"]
    squeezed = re.sub(r"\s+", " ", config)
    assert "listen 0.0.0.0:8080 default_server; server_name a.b c; root /srv;" in squeezed
    assert r"location ~ \.php$ { try_files $uri =404; } location /r { return 204; }" in squeezed
    assert "location /x { alias /y; } autoindex on;" in squeezed
    assert config.count("{") == config.count("}")
    assert role["packages"] == ["nginx-light"]
    assert role["units"]["enable"] == ["nginx.service"]


def test_nfs_server_and_client(roles: Document) -> None:
    server, client = roles["nfs-server"], roles["nfs-client"]
    assert server["files"]["etc/exports"]["text"] == "/srv *(rw)\n"
    assert server["files"]["etc/tmpfiles.d/nxc.conf"]["text"] == "d /srv 0755 root root -\n"
    assert {need["need"] for need in server["needs"]} == {"kernel", "mount"}
    assert server["kernelModules"] == ["nfsd"]
    mounted = r"s:/srv /m\040n nfs ro,_netdev,nofail,retry=10,x-systemd.mount-timeout=11min 0 0"
    assert client["files"]["etc/fstab"]["text"].splitlines() == [mounted]
    assert client["packages"] == ["nfs-common"]


def test_machines_that_share_folders_and_do_not_agree_are_told(nix: Evaluator) -> None:
    document = nix.document(
        """{ roles = {
          server = { nxc.sharedDirs."/a".export = true; nxc.users.names = [ "x" "y" ]; };
          client = {
            nxc.users.names = [ "y" "x" ];
            nxc.sharedDirs."/a".server = "server";
            nxc.sharedDirs."/b".server = "server";
            nxc.sharedDirs."/c".server = "serverr";
            nxc.sharedDirs."/d".server = "files.example.org";
          };
        }; }"""
    )
    same_list = "on `server'; give nxc.users.names the same list"
    assert document["roles"]["client"]["warnings"] == [
        f'nxc.sharedDirs."/a": user `y\' has uid 2000 here and 2001 {same_list}',
        f'nxc.sharedDirs."/a": user `x\' has uid 2001 here and 2000 {same_list}',
        'nxc.sharedDirs."/b": `server\' does not export it',
        "nxc.sharedDirs.\"/c\": no machine is named `serverr' (did you mean `server'?)",
    ]
    assert document["roles"]["server"]["warnings"] == []


def test_kernel_time_locale_hosts_and_tmpfiles(roles: Document) -> None:
    role = roles["system"]
    files = role["files"]
    assert files["etc/modules-load.d/nxc.conf"]["text"] == "dummy\n"
    assert files["etc/sysctl.d/60-nxc.conf"]["text"] == "net.ipv4.ip_forward = 1\n"
    assert role["kernelParams"] == ["quiet"]
    assert files["etc/timezone"]["text"] == "Europe/Paris\n"
    assert files["etc/default/locale"]["text"] == "LANG=fr_FR.UTF-8\n"
    assert files["usr/lib/locale/fr_FR.utf8"]["source"].endswith("-locale-fr_FR/locale")
    assert files["etc/nxc/hosts.extra"]["text"] == "10.0.0.9 far away\n10.0.0.8 near\n"
    assert files["etc/tmpfiles.d/nxc.conf"]["text"] == "d /x 0755 root root -\n"
    asking = [need["option"] for need in role["needs"]]
    assert asking == ["boot.kernelModules", "boot.kernelParams", 'boot.kernel.sysctl."net.ipv4.ip_forward"']
    assert len(role["warnings"]) == 2


def test_assertions_and_warnings_are_told(roles: Document) -> None:
    role = roles["told"]
    assert "nope" in role["failedAssertions"]
    assert any("xx_XX" in message for message in role["failedAssertions"])
    assert role["warnings"] == ["careful"]
