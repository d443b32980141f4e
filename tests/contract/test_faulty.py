"""The kit fails on drivers with a fault, each for its own reason, and passes where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from nxc_core.locks import locked

HERE = Path(__file__).parents[1] / "faulty"

CRASH = "test_a_crash_around_any_claim_leaks_nothing"
RESUME = "test_a_crashed_start_is_gone_on_with"
SOUND = ("Steady", "Generous", "Reserved")
"""What faulty drivers are made of that are not the example's own, which test_example.py tries."""
MACHINE, SPARE = "test_each_node_has_a_machine", "test_a_spare_takes_over"
FAULTS = [
    ("Absent", "test_is_discovered_under_its_name", "flavour absent is not discovered"),
    ("Misnamed", "test_is_discovered_under_its_name", "the entry says misnamed, the driver somebody-else"),
    ("Heavy", "test_importing_is_cheap_and_silent", "importing faulty_heavy imports execo"),
    ("Heavy", "test_importing_is_cheap_and_silent", "CPU seconds"),
    (
        "Chatty",
        "test_importing_is_cheap_and_silent",
        "importing wrote to the terminal: 'hello from a plugin'",
    ),
    ("Busy", "test_importing_is_cheap_and_silent", "importing faulty_busy changed threads: conductor"),
    ("Busy", "test_importing_is_cheap_and_silent", "importing faulty_busy changed children: sleep 60"),
    ("Busy", "test_importing_is_cheap_and_silent", "FAULTY_LIBRARY_SEEN"),
    ("Unexplained", "test_options_have_default_and_help", "option colour has no help"),
    ("Undecided", "test_options_have_default_and_help", "option colour has no default"),
    ("Fragile", "test_check_never_raises_and_changes_nothing[there]", "check() raised FileNotFoundError"),
    ("Picky", "test_check_never_raises_and_changes_nothing[missing]", "check() raised PreflightError"),
    (
        "Meddler",
        "test_check_never_raises_and_changes_nothing[there]",
        "check() changed the project: .nxc/probe",
    ),
    ("Unclaimed", "test_up_run_down", "after down: still there: process"),
    ("ClaimsLate", f"{CRASH}[before]", "still there: process"),
    ("Nameless", "test_two_deployments_do_not_meet", "share the claims {('local.port', 'lan')}"),
    ("Ruthless", "test_two_deployments_do_not_meet", "harmed one of victims-ruthless-"),
    ("Intolerant", "test_released_and_taken_down_twice", "release() of what is gone raised DeployError"),
    ("Speechless", "test_up_run_down", "release() answered None"),
    ("Forgetful", "test_up_run_down", "could not release local.process"),
    ("Stateful", "test_what_is_saved_is_enough", "could not release local.process"),
    ("Selective", "test_up_run_down", "deploy() returned without reporting two"),
    ("Starter", RESUME, "exists already"),
    ("Optimist", "test_up_run_down", "a command that exits with 1 was answered 0"),
    ("Mixer", "test_up_run_down", "standard error is mixed into standard output"),
    ("Dropper", "test_up_run_down", "arguments arrived as"),
    ("Exhibitionist", "test_secrets_stay_secret", "others can read a secret in"),
    ("Loud", "test_secrets_stay_secret", "a secret is on a command line: "),
    ("Unstoppable", "test_an_interrupted_start_ends_soon", "an interrupted start went on for"),
    ("Impostor", "test_ready_is_proved", "counts as ready but is another instance"),
    ("Undead", "test_a_dead_node_is_reported", "two was killed while it booted, but the start went well"),
    ("Blind", "test_a_dead_node_is_reported", "the death of two was told after"),
    ("Lazy", "test_power", "one did not come back"),
    ("Shared", "test_console", "nodes share a console"),
    (
        "Prudish",
        "test_an_ordinary_composition_is_let_pass",
        "vet() of a composition that can be started raised",
    ),
    ("Babbling", "test_taken_subnets_can_be_read", "taken() answered 'lan', which is no subnet"),
    ("Crowded", "test_up_run_down", "local.network is claimed, but taken() does not list 10."),
    ("Dozy", "test_rebooting", "one was rebooted, but it is the boot of before"),
    ("Rooted", "test_exporting", "README names itself"),
    ("Rooted", "test_exporting", ", one names /"),
    ("Frank", "test_exporting", "others can read a secret in "),
    ("Crammed", MACHINE, "machines() names one twice"),
    ("Secretive", MACHINE, "but op.node() was given {'one': ''"),
    ("Stubborn", SPARE, "but op.node() was given 'victims-stubborn-"),
    ("Inert", SPARE, "2 nodes did not come up"),
    ("Homeless", "test_addresses_of_the_platform", "networks() gives no address to two"),
    ("Twinned", "test_addresses_of_the_platform", "two and one share 10.9.0.1"),
    ("Restless", "test_nothing_changed_builds_nothing", "2 of 2 builds were done again"),
    ("Inhospitable", "test_the_guest_counts", "another guest has the same fingerprint"),
    ("Shortsighted", "test_a_change_is_noticed", "a changed composition has the same fingerprint"),
    ("Random", "test_same_inputs_same_result", "two builds differ: one, two"),
    ("Boastful", "test_builds_what_it_says", "these files do not exist"),
    ("Wilful", "test_builds_what_it_says", "built something-else"),
    ("Curt", "test_a_spoilt_composition_is_refused", "does not name the file"),
]
OFFERS = {"Prudish", "Babbling", "Crowded", "Dozy", "Rooted", "Frank"}
RESERVING = {"Crammed", "Secretive", "Stubborn", "Inert", "Homeless", "Twinned"}
BASES = {"Restless", "Inhospitable", "Shortsighted", "Random", "Boastful", "Wilful", "Curt"}

Results = dict[tuple[str, str], str]


def sound(name: str) -> str | None:
    """Name the driver that a faulty one is made of, unless that is the example's own."""
    made_of = dict(zip(SOUND, (BASES, OFFERS, RESERVING), strict=True))
    return next((one for one, faulty in made_of.items() if name in faulty), None)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run the kit once, for all of pytest's processes, on every fault and on drivers without one."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with locked(shared / "faulty.lock", what="the kit's report", wait=True):
        if not (shared / "faulty" / "report.xml").exists():
            run_kit(shared / "faulty")
    return read_results(shared / "faulty" / "report.xml")


def run_kit(folder: Path) -> None:
    folder.mkdir()
    write_distribution(folder / "path")
    wanted = {(name, test) for name, test, _ in FAULTS}
    wanted |= {(one, test) for name, test, _ in FAULTS if (one := sound(name)) is not None}
    wanted |= {("Reserved", test) for test in (RESUME, f"{CRASH}[after]")}
    report = folder / "report.xml"
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    paths = [str(HERE), str(folder / "path"), *(path for path in sys.path if path)]
    told = subprocess.run(
        (
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-c",
                str(folder / "pytest.ini"),
            ),
            *(f"--rootdir={HERE}", f"--junitxml={report}", "--import-mode=importlib", "--tb=short"),
            *sorted(f"{HERE}/contract_faulty.py::Test{name}::{test}" for name, test in wanted),
        ),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        timeout=600,
        text=True,
        check=False,
    )
    assert report.exists(), told.stdout + told.stderr


def write_distribution(folder: Path) -> None:
    """Install the faulty plugins as importlib.metadata sees it, with a stand-in for a heavy library."""
    record = folder / "faulty-1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1\n")
    (record / "entry_points.txt").write_text("[nxc]\nfaulty = faulty_plugin\n")
    (folder / "execo.py").touch()


def read_results(report: Path) -> Results:
    """Map class and test to what the failure said; empty for a test that passed."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        wrong = [*case.iter("failure"), *case.iter("error")]
        name = case.attrib["classname"].rpartition(".Test")[2]
        found[name, case.attrib["name"]] = "\n".join(f"{one.get('message')}\n{one.text}" for one in wrong)
    return found


@pytest.mark.parametrize(("driver", "test", "phrase"), FAULTS, ids=[f"{d}-{p[:24]}" for d, _, p in FAULTS])
def test_the_kit_finds_the_fault(driver: str, test: str, phrase: str, results: Results) -> None:
    """The promised test fails, and says why."""
    told = results[driver, test]
    assert told, f"{test} passed on the faulty driver {driver}"
    assert phrase in told


def test_the_kit_passes_without_a_fault(results: Results) -> None:
    """The same tests pass on the drivers that the faulty ones were made of."""
    kept = {key: told for key, told in results.items() if key[0] in SOUND}
    assert len(kept) > 15
    assert not {key: told for key, told in kept.items() if told}
