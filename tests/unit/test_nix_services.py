"""PostgreSQL, nginx as a proxy, timers, sockets and paths: what roles of the Debian base make of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.debian_evaluator import CASES, REAL_LIB, Document, Evaluator, has_lines, nix

__all__ = ["nix"]  # fixtures

BAD = tomllib.loads((CASES / "bad-services.toml").read_text())


@pytest.fixture(scope="module")
def roles(nix: Evaluator) -> Document:
    """The roles of tests/nix/debian/services.nix, evaluated once."""
    documents: Document = nix.document(CASES / "services.nix")["roles"]
    return documents


def written(nix: Evaluator, role: Document, *names: str) -> str:
    """Return the text of the one derivation so named, which the role mentions by way of the others."""
    found = set(role["derivations"])
    for name in names:
        texts = [nix.derivation(path) for path in found if re.search(rf"/\w{{32}}-{name}\.drv$", path)]
        assert len(texts) == 1, (name, found)
        found = set(re.findall(r'"(/nix/store/[^"]+\.drv)"', texts[0]))
    (text,) = re.findall(r'\("(?:text|buildCommand)","((?:[^"\\]|\\.)*)"\)', texts[0])
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), str(text))


SETTINGS = ("unit-postgresql-pre-start", "services.postgresql.settings", "postgresql.conf")
HBA = (*SETTINGS, "pg_hba.conf")
ENSURE = ("unit-postgresql-post-start", "postgresql-ensure.sql")


def test_live_services_evaluate(nix: Evaluator) -> None:
    document = nix.document(CASES / "services/composition.nix")
    compile(document["testScript"], "services", "exec")
    for role in document["roles"].values():
        assert role["failedAssertions"] == role["warnings"] == role["needs"] == []


if REAL_LIB:  # compares with nixpkgs' lib where one is given

    @pytest.mark.parametrize("name", ["services.nix", "services/composition.nix"])
    def test_documents_are_the_same_with_the_real_lib(nix: Evaluator, name: str) -> None:
        options = ("-I", f"real={REAL_LIB}", "--arg", "lib", f"import {REAL_LIB}")
        assert nix.document(CASES / name) == nix.document(CASES / name, *options)


@pytest.mark.parametrize("name", BAD)
def test_bad_services_are_refused_with_what_is_wrong(nix: Evaluator, name: str) -> None:
    path = nix.write(BAD[name]["composition"])
    (path.parent / "folder").mkdir()
    done = nix.attempt(path)
    assert done.returncode != 0, done.stdout
    for words in BAD[name]["says"]:
        assert words in done.stderr


# PostgreSQL


def test_postgresql_needs_no_more_than_its_package(nix: Evaluator, roles: Document) -> None:
    role = roles["plain"]
    assert role["packages"] == ["sudo"]
    (path,) = role["path"]
    assert path.endswith("-postgresql")
    command = next(nix.derivation(found) for found in role["derivations"] if "-postgresql.drv" in found)
    assert "postgresql-15.drv" in command
    assert "/usr/lib/postgresql/15/bin" in command
    assert role["needs"] == role["warnings"] == role["failedAssertions"] == role["units"]["enable"] == []
    (user,) = role["users"]
    assert (user["name"], user["uid"], user["home"]) == ("postgres", None, "/var/lib/postgresql/15")


def test_postgresql_is_active_when_all_is_done(nix: Evaluator, roles: Document) -> None:
    units = roles["plain"]["units"]
    unit = units["files"]["postgresql.service"]
    assert has_lines(unit, "Type=notify", "User=postgres", "KillSignal=SIGINT", "After=network.target")
    assert has_lines(unit, "StateDirectory=postgresql postgresql/15", "RuntimeDirectory=postgresql")
    assert re.search(r"ExecStart=/nix/store/\w{32}-postgresql/bin/postgres\n", unit)
    assert re.search(r"ExecStartPost=/nix/store/\w{32}-unit-postgresql-post-start\n", unit)
    assert units["wants"] == {
        "multi-user.target": ["postgresql.service"],
        "postgresql.service": ["postgresql-setup.service", "postgresql.target"],
    }
    assert "Requires=postgresql.service postgresql-setup.service" in units["files"]["postgresql.target"]
    assert has_lines(units["files"]["postgresql-setup.service"], "After=postgresql.service", "Type=oneshot")
    start = written(nix, roles["plain"], "unit-postgresql-pre-start")
    assert has_lines(start, 'if ! test -e "$PGDATA/PG_VERSION"; then', 'sync -f "$PGDATA"')
    assert "initdb -U postgres --no-sync" in start


def test_postgresql_has_the_defaults_of_nixos(nix: Evaluator, roles: Document) -> None:
    settings = written(nix, roles["plain"], *SETTINGS)
    assert has_lines(settings, "listen_addresses = 'localhost'", "port = 5432", "jit = 'off'")
    assert has_lines(settings, "log_line_prefix = '[%p] '", "log_destination = 'stderr'")
    assert written(nix, roles["plain"], *HBA).splitlines() == [
        "# Generated file; do not edit!",
        "# default value of services.postgresql.authentication",
        "local all postgres         peer map=postgres",
        "local all all              peer",
        "host  all all 127.0.0.1/32 md5",
        "host  all all ::1/128      md5",
    ]
    assert written(nix, roles["plain"], *SETTINGS, "pg_ident.conf") == "postgres postgres postgres\n"
    assert written(nix, roles["plain"], *ENSURE) == ""


def test_settings_of_postgresql(nix: Evaluator, roles: Document) -> None:
    role = roles["database"]
    settings = written(nix, role, *SETTINGS)
    assert has_lines(settings, "port = 5433", "max_connections = 10", "autovacuum = no", "jit = 'on'")
    assert has_lines(settings, "application_name = 'it''s'", "shared_preload_libraries = 'a,b'")
    assert has_lines(settings, "log_line_prefix = '%m '", "listen_addresses = '*'")
    assert "wal_level" not in settings
    assert settings.endswith("work_mem = '5MB'\n")
    assert re.fullmatch(r"5433 /nix/store/\w{32}-postgresql/bin/psql", role["files"]["etc/x"]["text"])


def test_settings_of_postgresql_are_checked_in_the_build(nix: Evaluator, roles: Document) -> None:
    check = written(nix, roles["database"], *SETTINGS[:2])
    assert re.search(r"/bin/postgres -C config_file -D /nix/store/\w{32}-postgresql.conf 2>&1", check)
    assert "exit 1" in check
    unchecked = written(nix, roles["own"], "unit-postgresql-pre-start", "postgresql.conf")
    assert "port = 5432" in unchecked


def test_authentication_stands_before_the_defaults_or_in_their_place(nix: Evaluator, roles: Document) -> None:
    lines = written(nix, roles["database"], *HBA).splitlines()
    assert lines[1] == "host all all samenet trust"
    assert lines[3].startswith("local all postgres")
    map_lines = written(nix, roles["database"], *SETTINGS, "pg_ident.conf").splitlines()
    assert map_lines == ["postgres root postgres", "postgres postgres postgres"]
    forced = (SETTINGS[0], SETTINGS[2], "pg_hba.conf")
    assert written(nix, roles["own"], *forced) == "local all all trust"


def test_databases_and_users_are_ensured(nix: Evaluator, roles: Document) -> None:
    role = roles["database"]
    assert written(nix, role, *ENSURE).splitlines() == [
        "SELECT format('CREATE DATABASE %I', 'o''x\"') WHERE NOT EXISTS "
        "(SELECT FROM pg_database WHERE datname = 'o''x\"') \\gexec",
        "SELECT format('CREATE USER %I', 'o''x\"') WHERE NOT EXISTS "
        "(SELECT FROM pg_roles WHERE rolname = 'o''x\"') \\gexec",
        'ALTER ROLE "o\'x""" createdb nologin;',
        'GRANT ALL PRIVILEGES ON DATABASE later TO "o\'x""";',
        'ALTER DATABASE "o\'x""" OWNER TO "o\'x""";',
    ]
    post = written(nix, role, "unit-postgresql-post-start")
    order = [post.index(word) for word in ("--port=5433", "kill -0", ".first_startup", "-file", "ensure.sql")]
    assert order == sorted(order)
    assert role["failedAssertions"] == []


def test_postgresql_keeps_its_data_where_it_is_told(nix: Evaluator, roles: Document) -> None:
    role = roles["database"]
    unit = role["units"]["files"]["postgresql.service"]
    assert has_lines(unit, 'Environment="PGDATA=/srv/pg"', "RequiresMountsFor=/srv/pg")
    assert "StateDirectory" not in unit
    assert role["files"]["etc/tmpfiles.d/nxc.conf"]["text"] == "d /srv/pg 0750 postgres postgres -\n"
    assert "--no-sync '--locale=de DE'" in written(nix, role, "unit-postgresql-pre-start")


def test_a_database_that_is_not_there_fails_an_assertion(roles: Document) -> None:
    said = "services.postgresql.ensureUsers: {} of `{}' asks for a database `{}', "
    said += "which is not in services.postgresql.ensureDatabases"
    assert roles["astray"]["failedAssertions"] == [
        said.format("ensureDBOwnership", "owner", "owner"),
        said.format("ensurePermissions", "user", "astray"),
    ]
    assert roles["scripted"]["failedAssertions"] == []


def test_postgresql_is_of_the_version_that_the_mirror_has(nix: Evaluator) -> None:
    names = nix.home / "newer"
    names.write_text("postgresql-17\npostgresql-17-postgis-3\npostgresql-client-17\n")
    given = ("--argstr", "packageNames", str(names))
    text = "{{ pkgs, ... }}: {{ roles.a.services.postgresql = {{ enable = true; {} }}; }}"
    role = nix.document(text.format(""), *given)["roles"]["a"]
    assert role["users"][0]["home"] == "/var/lib/postgresql/17"
    assert role == nix.document(text.format("package = pkgs.postgresql_17;"), *given)["roles"]["a"]
    done = nix.attempt(nix.write(text.format("package = pkgs.postgresql_15;")), *given)
    assert "nxc: pkgs.postgresql_15: this Debian release has PostgreSQL 17" in done.stderr


# nginx


def blocks(config: str) -> Iterator[str]:
    """Give each location or upstream with its lines, squeezed."""
    for found in re.finditer(r"(?:location|upstream) [^{]+\{[^}]*\}", config):
        yield re.sub(r"\s+", " ", found[0])


def test_nginx_passes_requests_on(roles: Document) -> None:
    config = roles["proxy"]["files"]["etc/nginx/nginx.conf"]["text"]
    upstream, root, here, websocket = blocks(config)
    assert upstream == "upstream behind { server a:1 weight=3; server unix:/run/b backup; keepalive 4; }"
    passing = 'set $nix_proxy_target "http://behind"; proxy_pass $nix_proxy_target;'
    assert root.startswith(f"location / {{ {passing} proxy_set_header Host $host;")
    assert root.endswith("proxy_set_header X-Forwarded-Server $host; }")
    assert here == "location /here { root /srv; }"
    passing = 'set $nix_proxy_target "http://c:2/"; proxy_pass $nix_proxy_target; proxy_http_version 1.1;'
    assert websocket == (
        f"location /ws {{ {passing} proxy_set_header Upgrade $http_upgrade; "
        "proxy_set_header Connection $connection_upgrade; }"
    )
    head = config[: config.index("upstream")]
    assert has_lines(head, "proxy_redirect off;", "proxy_read_timeout 7s;", "proxy_http_version 1.1;")
    assert has_lines(head, "resolver 10.0.0.1 valid=5s ipv6=off;", "default upgrade;")


def test_nginx_sets_nothing_of_proxies_unless_told(roles: Document) -> None:
    config = roles["unproxied"]["files"]["etc/nginx/nginx.conf"]["text"]
    assert "proxy_set_header" not in config
    assert "proxy_redirect" not in config


def test_an_nginx_that_would_not_start_fails_an_assertion(roles: Document) -> None:
    without, unresolved = roles["unproxied"]["failedAssertions"]
    assert "services.nginx.upstreams.empty has no servers" in without
    assert "services.nginx.proxyResolveWhileRunning" in unresolved


# Timers, sockets and paths


def test_a_service_started_at_times_has_one_timer_with_what_the_role_adds(roles: Document) -> None:
    units = roles["units"]["units"]
    timer = units["files"]["both.timer"].splitlines()
    assert timer[0] == "[Timer]"
    assert sorted(timer[1:]) == [
        *(f"OnCalendar={time}" for time in ("daily", "hourly", "weekly", "yearly")),
        "Persistent=true",
    ]
    assert units["wants"]["timers.target"] == units["wants"]["other.target"] == ["both.timer"]
    assert "never.timer" not in units["files"]
    assert units["mask"] == ["never.service"]


def test_lists_of_a_setting_are_added_up(roles: Document) -> None:
    text = roles["units"]["units"]["files"]["both.service"]
    assert {"ExecStartPre=/bin/a", "ExecStartPre=/bin/b"} <= set(text.splitlines())
    assert text.index("ConditionPathExists=/first") < text.index("ConditionPathExists=/last")


def test_sockets_and_paths(roles: Document) -> None:
    units = roles["units"]["units"]
    assert units["files"]["answer.socket"].splitlines() == [
        "[Socket]",
        "Accept=true",
        "ListenDatagram=53",
        "ListenStream=80",
        "ListenStream=/run/answer",
    ]
    assert units["wants"]["sockets.target"] == ["answer.socket"]
    assert units["files"]["answer@.service"] == "[Service]\nExecStart=/bin/cat\n"
    assert units["files"]["more.target"] == "[Unit]\nWants=answer@7.service\n"
    assert units["files"]["seen.path"] == "[Path]\nPathExists=/a\nPathExists=/b\nUnit=both.service\n"
