"""What the Debian base reads: apt sources, derivations, versions, Nix' complaints."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxc_core.errors import BuildError, CommandError, ConfigError
from nxc_debian import apt, aterm, doctor, evaluation, namespace, sources

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Enabled: no

Types: deb
URIs: https://third.example/apt
Suites: bookworm-pgdg
Components: main
"""


def machine(tmp_path: Path, *, lines: str = "", stanzas: str = "") -> list[sources.Source]:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(lines)
    (tmp_path / "sources.list.d" / "debian.sources").write_text(stanzas)
    (tmp_path / "sources.list.d" / "old.sources.disabled").write_text(stanzas)
    return sources.machine_sources(tmp_path)


def test_deb822_sources_keep_their_key_and_third_parties_are_left_out(tmp_path: Path) -> None:
    found = sources.debian_sources(machine(tmp_path, stanzas=DEB822), "bookworm")
    assert [source.uris for source in found] == [("http://mirror.example/debian",)]
    assert "mQINBF" in found[0].stanza
    assert "deb-src" not in found[0].stanza


def test_one_line_sources(tmp_path: Path) -> None:
    lines = """
    deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian bookworm main # note
    deb-src http://mirror.example/debian bookworm main
    deb cdrom:[Debian 12]/ bookworm main
    deb http://flat.example ./
    deb https://docker.example/linux/debian bookworm stable
    deb http://security.example/debian-security bookworm-security main
    """
    found = sources.debian_sources(machine(tmp_path, lines=lines), "bookworm")
    assert [source.uris[0] for source in found] == [
        "http://mirror.example/debian",
        "http://security.example/debian-security",
    ]
    assert "Signed-By: /usr/share/keyrings/k.gpg\n" in found[0].stanza
    assert [source.is_security for source in found] == [False, True]


def test_a_machine_of_another_release_lends_its_mirrors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = machine(
        tmp_path, lines="deb http://m.example/debian trixie main\ndeb http://m.example/s trixie-security main"
    )
    monkeypatch.setattr(sources, "machine_sources", lambda: found)
    assert [source.suites for source in sources.choose(None, "bookworm")] == [
        ("bookworm",),
        ("bookworm-security",),
    ]
    assert "Suites: bookworm-security\n" in sources.choose(None, "bookworm")[1].stanza


def test_a_mirror_that_is_set_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "machine_sources", lambda: pytest.fail("the machine's sources were read"))
    (found,) = sources.choose("http://m.example/debian", "bookworm")
    assert found.suites == ("bookworm", "bookworm-updates")
    (line,) = sources.choose("deb [trusted=yes] http://m.example/d bookworm main contrib", "bookworm")
    assert line.components == ("main", "contrib")
    assert "Trusted: yes" in line.stanza


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("ID=debian\nVERSION_CODENAME=trixie\n", "trixie"),
        ("ID=debian\nVERSION_CODENAME=bullseye\n", "bookworm"),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", "bookworm"),
        ("", "bookworm"),
    ],
)
def test_the_release_is_the_machines_where_it_can_be(text: str, release: str, tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text(text)
    assert sources.machine_release(tmp_path / "os-release") == release


DRV = (
    'Derive([("out","/nix/store/aaa-x","","")],[("/nix/store/bbb-y.drv",["out"])],["/nix/store/ccc-src"],'
    '"x86_64-linux","nxc",[],[("name","x"),("nxcKind","text"),("out","/nix/store/aaa-x"),'
    '("text","a \\"quoted\\" \\\\ line\\nand\\ttab, (brackets) [too]")])'
)


def test_a_derivation_is_read_with_its_escapes() -> None:
    found = aterm.parse_derivation("/nix/store/aaa-x.drv", DRV)
    assert found.out == "/nix/store/aaa-x"
    assert found.inputs == ("/nix/store/bbb-y.drv",)
    assert found.sources == ("/nix/store/ccc-src",)
    assert found.kind == "text"
    assert found.env["text"] == 'a "quoted" \\ line\nand\ttab, (brackets) [too]'


@pytest.mark.parametrize("text", ["", "Derive(", "Other([])", DRV[:-20], "Derive([],[],[],x,[],[],[])"])
def test_what_is_no_derivation_is_an_error(text: str) -> None:
    with pytest.raises(BuildError, match="not a derivation"):
        aterm.parse_derivation("/nix/store/x.drv", text)


def drv(name: str, *inputs: str) -> str:
    listed = ",".join(f'("{given}",["out"])' for given in inputs)
    return f'Derive([("out","/nix/store/{name}","","")],[{listed}],[],"s","nxc",[],[("name","{name}")])'


def test_a_closure_has_inputs_first_each_once() -> None:
    files = {"a": drv("a", "b", "c"), "b": drv("b", "c"), "c": drv("c")}
    assert [found.path for found in aterm.closure(["a", "c"], files.__getitem__)] == ["c", "b", "a"]


def test_a_long_chain_is_no_recursion() -> None:
    files = {str(n): drv(str(n), str(n + 1)) for n in range(3000)} | {"3000": drv("3000")}
    assert len(aterm.closure(["0"], files.__getitem__)) == 3001


def test_a_derivation_that_went_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="not in the store") as told:
        aterm.closure(["/nix/store/x.drv"], aterm.read_from(tmp_path))
    assert told.value.hint


def test_stanzas_hold_folded_fields() -> None:
    found = apt.parse_stanza("Package: a\nDescription: one\n two\n .\nDepends: b (>= 1), c\n")
    assert found == {"Package": "a", "Description": "one\n two\n .", "Depends": "b (>= 1), c"}
    assert apt.parse_stanza(apt.render_stanza(found)) == found


def test_versions_of_programs() -> None:
    assert doctor.read_version("mmdebstrap 1.3.5") == (1, 3)
    assert doctor.read_version("mksquashfs version 4.5.1 (2022/03/17)") == (4, 5)
    assert evaluation.nix_version("nix-instantiate (Nix) 2.8.0") == (2, 8)
    assert doctor.read_version("") == (0, 0)


def test_subordinate_ids_by_name_or_number(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text("other:1:99999\nme:100000:65536\n1001:5:70000\n# comment\n")
    assert namespace.subordinate_ids(path, "me", 7) == 65536
    assert namespace.subordinate_ids(path, "nobody", 1001) == 70000
    assert namespace.subordinate_ids(path, "nobody", 5) == 0
    assert namespace.subordinate_ids(tmp_path / "absent", "me", 7) == 0


def complaint(stderr: str) -> ConfigError | BuildError:
    error = CommandError("nix", argv=("nix-instantiate",), code=1, stderr=stderr)
    return evaluation.explain(error, Path("/p/composition.nix"), Path("/p"))


def test_nxcs_own_messages_are_kept_as_they_are() -> None:
    told = complaint("error: nxc: composition.nix: option `services.foo' does not exist on the debian base\n")
    assert told.message == "composition.nix: option `services.foo' does not exist on the debian base"


def test_of_a_trace_only_the_project_is_shown() -> None:
    told = complaint(
        "error: attribute 'curll' missing\n\n       at /p/composition.nix:5:30:\n\n            4|\n"
        "            5| pkgs.curll\n\n       … while evaluating x\n\n       at /lib/modules.nix:9:1:\n"
    )
    assert "attribute 'curll' missing" in told.message
    assert "composition.nix:5" in told.message
    assert "modules.nix" not in told.message


def test_a_syntax_error_names_its_line() -> None:
    told = complaint(
        "error: syntax error, unexpected '}', expecting ';'\n\n       at /p/composition.nix:3:1:\n"
    )
    assert "syntax error" in told.message
    assert "composition.nix:3" in told.message


def test_assertions_that_fail_are_listed_with_their_role() -> None:
    document = {
        "schema": evaluation.SCHEMA,
        "testScript": None,
        "rolesDistribution": {},
        "roles": {"r": {"failedAssertions": ["no such locale"], "warnings": []}},
    }
    with pytest.raises(ConfigError, match="role r: no such locale"):
        evaluation.to_evaluated(document, Path("c.nix"))


def test_the_project_is_the_nearest_marked_folder(tmp_path: Path) -> None:
    inner = tmp_path / "project" / "sub"
    inner.mkdir(parents=True)
    assert evaluation.project_root(inner / "c.nix") == inner
    (tmp_path / "project" / "nxc.toml").touch()
    assert evaluation.project_root(inner / "c.nix") == tmp_path / "project"
