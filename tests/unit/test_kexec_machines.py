"""Which machines there are: the list, the machine file, ssh's own configuration, and what refusals mean."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from nxc_core import CommandError, ConfigError
from nxc_kexec.former import Way, is_passing, refusal, resolve, spell
from nxc_kexec.machines import Contact, configured, read_machines, read_target


def write(folder: Path, text: str) -> Path:
    path = folder / "machines"
    path.write_text(text)
    return path


def test_a_file_says_all_of_a_machine(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("")
    write(
        tmp_path,
        "# the rack\n\n"
        "alice@n1.example:2022 key=id jump=gate@door:22 sudo=no address=10.0.0.1 name=first # a word\n"
        "[fe80::1%eth0]:23\n"
        "n2\n",
    )
    first, second, third = read_machines(["machines"], tmp_path)
    assert first == Contact(
        name="first",
        host="n1.example",
        user="alice",
        port=2022,
        key=str(tmp_path / "id"),
        jump="gate@door:22",
        sudo=False,
        address="10.0.0.1",
        where="machines, line 3",
    )
    assert (second.host, second.port, second.name) == ("fe80::1%eth0", 23, "fe80::1%eth0")
    assert (third.host, third.port, third.user, third.sudo) == ("n2", 0, "", True)


def test_a_file_of_another_system_is_read(tmp_path: Path) -> None:
    (tmp_path / "machines").write_bytes(b"\xef\xbb\xbfn1\r\nalice@n2 sudo=no\r\n")
    assert [(one.host, one.sudo) for one in read_machines(["machines"], tmp_path)] == [
        ("n1", True),
        ("n2", False),
    ]


def test_a_list_stands_for_a_file(tmp_path: Path) -> None:
    found = read_machines(["a", " root@b:2022 ", ""], tmp_path)
    assert [(one.name, one.user, one.port) for one in found] == [("a", "", 0), ("b", "root", 2022)]
    (only,) = read_machines(["a"], tmp_path)
    assert only.host == "a", "no file is called so"


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("# nobody\n\n", "machines names no machine", "one a line"),
        ("a\nb\na\n", "machines, line 3: a is named twice (first in machines, line 1)", "leave one"),
        ("a name=x\nb name=x\n", "machines, line 2: x is named twice", "leave one"),
        ("a name=x\na name=y\n", "machines, line 2: y is named twice", "leave one"),
        ("a:1\na:2\n", "machines, line 2: a is named twice", "tell them apart by name="),
        (
            "a address=10.0.0.1\nb address=10.0.0.1\n",
            "machines, line 2: address=10.0.0.1 is given twice (first in machines, line 1)",
            "its own",
        ),
        ("a\na:22 name=b\n", "machines, line 2: b is named twice", "leave one"),
        (
            "a adress=10.0.0.1\n",
            "machines, line 1: 'adress=10.0.0.1' is not understood",
            "did you mean address=?",
        ),
        ("a b\n", "machines, line 1: 'b' is not understood", "A line is"),
        ("a sudo=maybe\n", "machines, line 1: sudo=maybe is neither yes nor no", "root"),
        ("a address=here\n", "machines, line 1: address=here is not an IP address", "10.0.0.7"),
        ("a address=\n", "machines, line 1: address= has no value", "address=IP"),
        ("a sudo=no sudo=yes\n", "machines, line 1: sudo= is given twice", "leave one"),
        ("a key=/none\n", "machines, line 1: key /none does not exist", "private ssh key"),
        ("a:70000\n", "machines, line 1: there is no port 70000", "65535"),
        ("a:b:c\n", "machines, line 1: 'a:b:c' is not [user@]host[:port]", "a line is"),
        ("-oProxyCommand=x\n", "is not [user@]host[:port]", "a line is"),
        ("a jump=-x\n", "is not [user@]host[:port]", "a line is"),
        ("a 'b\n", "machines, line 1: No closing quotation", "user@"),
        ("a name=b/c\n", "'b/c' cannot be a machine's name", "letters"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, told: str, hint: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_machines(["machines"], tmp_path)
    assert told in caught.value.message
    assert hint in caught.value.hint


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    for words, told in (
        ([], "no machines"),
        (["x/y"], "x/y does not exist"),
        ([f"{tmp_path}/"], "is a folder"),
    ):
        with pytest.raises(ConfigError, match=told):
            read_machines(words, tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary cannot be read: it is no text"):
        read_machines(["binary"], tmp_path)


def test_a_list_with_duplicates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="-m: a is named twice"):
        read_machines(["a", "b", "a"], tmp_path)
    with pytest.raises(ConfigError, match="-m: a is named twice") as caught:
        read_machines(["a:1", "a:2"], tmp_path)
    assert "tell them apart by name= in a machine file" in caught.value.hint


def test_a_list_without_commas_is_told_of_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="-m: 'b' is not understood") as caught:
        read_machines(["a b"], tmp_path)
    assert "as in -m a,b" in caught.value.hint


@given(st.text(max_size=40))
def test_no_line_is_more_than_a_wrong_line(text: str) -> None:
    try:
        target = read_target(text, "here")
    except ConfigError:
        return
    assert target.host and not target.host.startswith("-")
    assert not target.user.startswith("-")


# What ssh itself says


def test_the_users_configuration_counts(tmp_path: Path) -> None:
    """The real ssh is asked."""
    config = tmp_path / "config"
    config.write_text(
        "Host box\n HostName 192.0.2.7\n Port 2022\n User bob\n ProxyJump carol@gate:23\n"
        f" GlobalKnownHostsFile {tmp_path}/known\n"
    )
    contact = Contact(name="box", host="box")
    argv = resolve(contact).argv
    told = subprocess.run((argv[0], "-F", str(config), *argv[1:]), capture_output=True, text=True, check=True)
    found = configured(contact, told.stdout)
    assert (found.real, found.port, found.user) == ("192.0.2.7", 2022, "bob")
    assert found.jump == "carol@gate:23"
    assert found.trusted == (f"{tmp_path}/known",)


def test_what_is_given_stands_above_the_configuration() -> None:
    told = "hostname real\nport 22\nuser bob\nproxyjump gate\nproxycommand none\n"
    found = configured(Contact(name="a", host="a", user="alice", port=23, jump="mine"), told)
    assert (found.user, found.port, found.jump, found.real) == ("alice", 23, "mine", "real")
    only = Contact(name="a", host="a")
    assert configured(only, "proxyjump nonesuch.example\n").jump == "nonesuch.example"
    assert configured(only, "proxyjump none\n").jump == ""


def test_a_way_that_leads_to_no_node_is_refused() -> None:
    with pytest.raises(ConfigError, match="machines, line 4: ssh reaches a by a ProxyCommand") as caught:
        configured(
            Contact(name="a", host="a", where="machines, line 4"), "hostname a\nproxycommand nc %h %p\n"
        )
    assert "jump=HOST" in caught.value.hint


CONTACT = Contact(name="m1", host="box", user="bob", port=2022, real="192.0.2.7", trusted=("/h/known",))


def test_keys_may_be_in_a_folder_with_blanks_and_percent_signs(tmp_path: Path) -> None:
    place = "/my 100%h machines"
    words = Way(contact=evolve(CONTACT, key=f"{place}/id"), runtime=tmp_path, known_hosts=f"{place}/known")
    told = subprocess.run(
        ("ssh", "-F", "/dev/null", "-G", *words.options(), "box"), capture_output=True, check=True, text=True
    )
    settings = dict(line.partition(" ")[::2] for line in told.stdout.splitlines())
    # Of two percent signs ssh makes one; of an identity that is not told before it is used.
    assert settings["identityfile"].replace("%%", "%") == "/my 100%h machines/id"
    assert settings["globalknownhostsfile"] == "/h/known /my 100%h machines/known"


def test_ssh_asks_nobody_and_trusts_nothing_unseen(tmp_path: Path) -> None:
    way = Way(contact=evolve(CONTACT, key="/k", jump="a,gate@door:23"), runtime=tmp_path, known_hosts="/more")
    words = way.run(("true", "a b"), timeout=3).argv
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ForwardAgent=no"):
        assert option in words
    assert 'GlobalKnownHostsFile="/h/known" "/more"' in words
    assert words[-3:] == ("box", "--", "true 'a b'"), "by the name that ssh's configuration knows"
    assert {"IdentityFile=/k", "IdentitiesOnly=yes"} < set(words)
    (hops,) = [word for word in words if word.startswith("ProxyCommand=")]
    assert "-J a" in hops and "-p 23 -l gate" in hops and hops.endswith("-W '[%h]:%p' door")
    assert "StrictHostKeyChecking=yes" in hops and '"/more"' in hops
    assert (
        way.alone(("true",), timeout=3).argv[way.alone(("true",), timeout=3).argv.index("-S") + 1] == "none"
    )


def test_their_files_of_host_keys_are_left_to_ssh(tmp_path: Path) -> None:
    words = Way(contact=CONTACT, runtime=tmp_path).open(3).argv
    assert not any("KnownHostsFile" in word for word in words)


@pytest.mark.parametrize(
    ("said", "cause", "hint", "passing"),
    [
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
            "its host key has changed",
            "`ssh-keygen -R [192.0.2.7]:2022`",
            False,
        ),
        (
            "No ED25519 host key is known for box and you have requested strict checking.\n"
            "Host key verification failed.",
            "its host key is not known",
            "`ssh -p 2022 bob@box`",
            False,
        ),
        ("bob@box: Permission denied (publickey).", "it does not accept our key", "key=PATH", False),
        (
            "ssh: connect to host box port 2022: Connection refused",
            "the connection was refused",
            "port",
            True,
        ),
        ("ssh: connect to host box port 2022: Connection timed out", "it does not answer", "firewall", True),
        ("ssh: connect to host box port 2022: No route to host", "no route to host", "is it on", True),
        (
            "kex_exchange_identification: read: Connection reset by peer",
            "it reset the connection",
            "log",
            True,
        ),
        ("what is this", "ssh ended with 255: what is this", "try `ssh -p 2022 bob@box`", False),
    ],
)
def test_a_refusal_says_what_it_means(said: str, cause: str, hint: str, passing: bool) -> None:
    error = CommandError("it failed", argv=("ssh",), code=255, stderr=said)
    trouble = refusal(error, "contact", CONTACT, 5)
    assert cause in trouble.cause
    assert hint in trouble.hint
    assert is_passing(trouble) is passing
    assert trouble.machine == "m1" and trouble.step == "contact"
    assert trouble.message == f"m1: contact: {trouble.cause}"
    assert trouble.last_line == said.splitlines()[-1]


def test_a_late_answer_names_the_deadline() -> None:
    error = CommandError("late", argv=("ssh",), code=None)
    trouble = refusal(error, "facts", evolve(CONTACT, jump="gate"), 30)
    assert trouble.cause == "it does not answer: not done after 30 s (through gate)"
    assert spell(evolve(CONTACT, jump="gate")) == "-p 2022 -J gate bob@box"
