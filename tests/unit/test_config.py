"""Settings: precedence, origins, and mistakes named with file, line and what was meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nxc_core.config import Setting, find_root, load_settings, read_nodes, read_option, read_role
from nxc_core.errors import ConfigError
from nxc_core.paths import config_file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "deep" / "er").mkdir(parents=True)
    config_file().parent.mkdir(parents=True)
    return tmp_path / "project"


def write_project(project: Path, text: str) -> Path:
    path = project / "nxc.toml"
    path.write_text(text)
    return path


def test_the_order_is_option_environment_project_user_default(project: Path) -> None:
    levels: list[tuple[str, str]] = []
    environ: dict[str, str] = {}
    overrides: dict[str, Setting] = {}
    assert load_settings(project, environ={}).get("flavour") == (None, "default")
    config_file().write_text('flavour = "user"\n')
    levels.append(("user", f"{config_file()}:1"))
    assert load_settings(project, environ=environ).get("flavour") == levels[-1]
    write_project(project, '# a comment\nflavour = "project"\n')
    assert load_settings(project, environ=environ).get("flavour") == ("project", f"{project}/nxc.toml:2")
    environ["NXC_FLAVOUR"] = "environment"
    assert load_settings(project, environ=environ).get("flavour") == ("environment", "NXC_FLAVOUR")
    overrides["flavour"] = Setting(value="option", origin="--flavour")
    assert load_settings(project, environ=environ, overrides=overrides).get("flavour") == (
        "option",
        "--flavour",
    )


def test_defaults_are_settings_too(project: Path) -> None:
    settings = load_settings(project, environ={})
    assert settings.get("offline") == (False, "default")
    assert settings.get("jobs") == (len(os.sched_getaffinity(0)), "default")


def test_the_project_is_the_nearest_parent_with_an_nxc_toml(project: Path) -> None:
    deep = project / "deep" / "er"
    assert find_root(deep) == deep
    write_project(project, 'composition = "it.nix"\n')
    assert find_root(deep) == project
    settings = load_settings(deep, environ={})
    assert settings.root == project
    assert settings.get("composition") == (str(project / "it.nix"), f"{project}/nxc.toml:1")


def test_a_composition_from_the_environment_is_meant_from_here(project: Path) -> None:
    settings = load_settings(project / "deep", environ={"NXC_COMPOSITION": "it.nix"})
    assert settings.get("composition")[0] == str(project / "deep" / "it.nix")


def test_options_merge_one_by_one(project: Path) -> None:
    config_file().write_text('[options.vm-ramdisk]\nmemory = "1g"\ncores = 2\n')
    write_project(project, '[options.vm-ramdisk]\nmemory = "2g"\n\n[options]\ndebian.mirror = "here"\n')
    environ = {"NXC_OPTIONS": "vm-ramdisk.accelerator=tcg debian.suite='a b'"}
    settings = load_settings(project, environ=environ)
    assert settings.options() == {
        "vm-ramdisk": {"memory": "2g", "cores": 2, "accelerator": "tcg"},
        "debian": {"mirror": "here", "suite": "a b"},
    }
    assert settings.get("options.vm-ramdisk.memory")[1] == f"{project}/nxc.toml:2"
    assert settings.get("options.vm-ramdisk.cores")[1] == f"{config_file()}:3"
    assert settings.get("options.debian.mirror")[1] == f"{project}/nxc.toml:5"


def test_roles_are_numbers_or_names(project: Path) -> None:
    write_project(project, '[roles]\nclient = 3\nserver = ["foo", "bar"]\nspare = "a,b"\n')
    settings = load_settings(project, environ={"NXC_ROLES": "client=1 more=x"})
    assert settings.roles() == {"client": 1, "server": ("foo", "bar"), "spare": ("a", "b"), "more": ("x",)}


@pytest.mark.parametrize(
    ("text", "line", "told", "hint"),
    [
        ('base = "debian"\nflavor = "x"\n', 2, "unknown key flavor", "did you mean flavour?"),
        ("\noffline = 1\n", 2, "offline is 1, not true or false", "offline"),
        ("jobs = true\n", 1, "jobs is True, not a whole number", "jobs"),
        ("jobs = 0\n", 1, "jobs is 0", "at least 1"),
        ('flavour = ["vm"]\n', 1, "not a text", "flavour list"),
        ('options = "x"\n', 1, "not a table", "[options]"),
        ("[options]\nmemory = 3\n", 2, "options.memory is 3, not a table", "[options.memory]"),
        ("[options.vm]\nmemory.x = 3\n", 2, "memory is a table", "flavour show vm"),
        ("[roles]\na = 1\nb = true\n", 3, "True is not a number of nodes", "foo,bar"),
        ("[roles]\na = -1\n", 2, "-1 is not a number of nodes", "foo,bar"),
    ],
)
def test_a_mistake_is_named_with_its_line(project: Path, text: str, line: int, told: str, hint: str) -> None:
    path = write_project(project, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(project, environ={})
    assert caught.value.message.startswith(f"{path}:{line}: ")
    assert told in caught.value.message
    assert hint in caught.value.hint


def test_what_is_no_toml_is_named_with_its_line(project: Path) -> None:
    path = write_project(project, "a = 1\nb = = 2\n")
    with pytest.raises(ConfigError, match=f"{path}: .*line 2"):
        load_settings(project, environ={})


def test_what_cannot_be_read_is_named(project: Path) -> None:
    path = write_project(project, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=f"{path} cannot be read"):
        load_settings(project, environ={})


def test_a_user_configuration_names_no_composition(project: Path) -> None:
    config_file().write_text('composition = "x.nix"\n')
    with pytest.raises(ConfigError, match="belongs to a project"):
        load_settings(project, environ={})


@pytest.mark.parametrize(
    ("name", "value", "told", "hint"),
    [
        ("NXC_FLAVOR", "x", "unknown variable NXC_FLAVOR", "NXC_FLAVOUR"),
        ("NXC_JOBS", "many", "not a whole number", "jobs"),
        ("NXC_JOBS", "0", "jobs is 0", "at least 1"),
        ("NXC_OFFLINE", "perhaps", "not true or false", "offline"),
        ("NXC_OPTIONS", "memory=1", "not DRIVER.OPTION=VALUE", "-o"),
        ("NXC_OPTIONS", "'", "No closing quotation", "shell"),
        ("NXC_ROLES", "x", "not ROLE=NODES", "-r"),
    ],
)
def test_a_wrong_variable_is_named(project: Path, name: str, value: str, told: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(project, environ={name: value})
    assert name in caught.value.message or name == "NXC_OPTIONS" or name == "NXC_ROLES"
    assert told in caught.value.message
    assert hint in caught.value.hint


def test_other_variables_are_left_alone(project: Path) -> None:
    environ = {"NXC_CLAIM": "x", "NXC_TEST_CACHE": "y", "NXC_FLAVOUR": "", "PATH": "z"}
    assert load_settings(project, environ=environ).get("flavour") == (None, "default")


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("1", True), ("OFF", False), ("false", False)])
def test_the_environment_says_yes_in_words(project: Path, word: str, value: bool) -> None:
    assert load_settings(project, environ={"NXC_OFFLINE": word}).get("offline") == (value, "NXC_OFFLINE")


def test_words_of_the_command_line() -> None:
    assert read_option("vm-ramdisk.qemu-args=-m=1") == ("options.vm-ramdisk.qemu_args", "-m=1")
    assert read_role("client=3") == ("client", 3)
    assert read_role("server=foo,bar") == ("server", ("foo", "bar"))
    for wrong in ("memory=1", "vm.memory", ".x=1", "vm.=1"):
        with pytest.raises(ConfigError):
            read_option(wrong)
    for wrong in ("client", "=3", "client=", "client=a,,b"):
        with pytest.raises(ConfigError):
            read_role(wrong)
    assert read_nodes(0, "here") == 0
