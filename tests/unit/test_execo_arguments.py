"""What a script gives nxc_execo: roles, settings, machines and policy; what is wrong is told."""

from __future__ import annotations

from pathlib import Path

from tests.execo_bench import project, run

__all__ = ["project"]  # fixtures


def test_roles_and_settings_are_the_projects_own_unless_said(project: Path) -> None:
    with (project / "nxc.toml").open("a") as file:
        file.write("[roles]\nclient = 2\nserver = 1\n")
    said = run(
        project,
        """
        with deployed(roles={"client": "3"}) as deployment:
            print(sorted(deployment.nodes), [host.address for host in deployment.roles["client"]])
        """,
    )
    assert "['client1', 'client2', 'client3', 'server'] ['client1', 'client2', 'client3']" in said


def test_machines_and_policy_are_the_projects_own_unless_said(project: Path) -> None:
    (project / "rack").write_text("m1\nm2\n")
    with (project / "nxc.toml").open("a") as file:
        file.write('machines = "rack"\nspare = 1\nretries = 2\n[min]\nclient = 1\n')
    said = run(
        project,
        """
        import execo
        from nxc_core import NxcError, Session
        from nxc_core.model import Policy

        def start(self, source, **words):
            policy = words["policy"]
            print(words["options"], policy.spares, policy.retries, policy.minimum)
            raise NxcError("enough was seen")

        Session.start = start
        for words in (
            {"flavour": "kexec"},
            {"flavour": "kexec", "machines": ["a", "b"], "policy": Policy(spares=3)},
            {"flavour": "kexec", "machines": "rack"},
            {"flavour": "kexec", "options": {"kexec": {"machines": "c,d"}}},
            {"flavour": "kexec", "machines": [execo.Host("e"), execo.Host("f", user="alice", port=23)]},
            {"flavour": "local"},
        ):
            try:
                nxc_execo.start(**words)
            except NxcError as error:
                assert str(error) == "enough was seen", error
        """,
    )
    rack = str({"kexec": {"machines": str(project / "rack")}})
    assert said.splitlines() == [
        f"{rack} 1 2 {{'client': 1}}",
        "{'kexec': {'machines': 'a,b'}} 3 0 {}",
        f"{rack} 1 2 {{'client': 1}}",
        "{'kexec': {'machines': 'c,d'}} 1 2 {'client': 1}",
        "{'kexec': {'machines': 'e,alice@f:23'}} 1 2 {'client': 1}",
        "{} 1 2 {'client': 1}",
    ]


def test_options_for_nobody_and_folders_that_are_not_there_are_refused(project: Path) -> None:
    said = run(
        project,
        """
        from nxc_core import NxcError
        for words in ({"options": {"locall": {}}}, {"options": {"local": 3}}, {"folder": "gone"}):
            try:
                nxc_execo.start(**words)
            except NxcError as error:
                print(f"{error} | {error.hint}")
        """,
    )
    told = said.splitlines()
    assert told[0] == "options: there is no flavour or base locall | did you mean local?"
    assert told[1].startswith("options: local is 3, not a mapping | as in {")
    assert told[2].startswith("there is no folder gone | ")


def test_a_deployment_that_failed_cannot_be_attached_to(project: Path) -> None:
    said = run(
        project,
        """
        from nxc_core import NxcError, Session
        try:
            nxc_execo.start(options={"local": {"dies": "client"}})
        except NxcError:
            pass
        session = Session.open(Path())
        try:
            session.attach().node("server")
            print(sorted(nxc_execo.attach().nodes))
            nxc_execo.start(options={"local": {"dies": "client"}}, roles={"server": 0})
        except NxcError:
            pass
        for one in session.deployments():
            try:
                nxc_execo.attach(one.id)
            except NxcError as error:
                print("told:", error, "|", error.hint)
            session.down(one.id)
        """,
    )
    assert "['server']" in said
    assert "is failed: none of its nodes runs | `nxc status` says why" in said


WRONG = [
    ("flavour_name='nothing'", "no flavour nothing", "there are:"),
    ("flavour_name='local', compose_info_file='build.json'", "NixOS Compose has built", "leave it out"),
    ("flavour_name='local', compose_info_file='other.nix'", "no composition", "nxc init"),
    ("flavour_name='local', composition_name='other'", "other.nix", "leave it out"),
    ("flavour_name='local', roles_quantities={'nobody': 2}", "nobody", "client"),
    ("flavour_name='local', roles_quantities={'client': -1}", "roles: client", "write 3"),
]


def test_wrong_arguments_are_told_with_the_way_out(project: Path) -> None:
    script = "from nxc_core import NxcError\n"
    for call, _, _ in WRONG:
        script += f"try:\n    get_oar_job_nodes_nxc(None, None, {call})\nexcept NxcError as error:\n"
        script += "    print('told:', error, '|', error.hint)\n"
    told = [line for line in run(project, script).splitlines() if line.startswith("told:")]
    assert len(told) == len(WRONG)
    for line, (_, message, way_out) in zip(told, WRONG, strict=True):
        assert message in line and way_out in line


def test_flavours_that_run_on_machines_ask_for_those_of_the_job(project: Path) -> None:
    said = run(
        project,
        """
        import types
        import execo
        from nxc_core import NxcError

        def get_oar_job_nodes(job, site):  # there is no OAR here
            print("asked:", job, site)
            return [execo.Host("m1.invalid")] if job == 42 else []

        sys.modules["execo_g5k"] = types.SimpleNamespace(get_oar_job_nodes=get_oar_job_nodes)
        for job in (None, "me", 41, 42):
            try:
                get_oar_job_nodes_nxc(job, "grenoble", flavour_name="kexec")
            except NxcError as error:
                print("told:", error)
        """,
    )
    assert "told: flavour kexec needs the machines of an OAR job" in said
    assert "told: OAR job 'me' is no number" in said
    assert "asked: 41 grenoble" in said and "told: OAR job 41 at grenoble has no machines" in said
    assert "asked: 42 grenoble" in said and "told: base plain" in said  # which kexec cannot boot
