"""The one hierarchy of errors: what happened, and the way out."""

from __future__ import annotations

from typing import ClassVar


class NxcError(Exception):
    """Something that the person at the keyboard can act on.

    ``hint`` says how. ``exit_code`` is fixed per child; only the command line exits.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class TestFailed(NxcError):
    """The composition's test script did not hold; ``frames`` are the script's own."""

    __test__ = False  # pytest would collect it by its name
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", frames: str = "") -> None:
        super().__init__(message, hint=hint)
        self.frames = frames


class UsageError(NxcError):
    """An option or argument that cannot be meant."""

    exit_code = 2


class ConfigError(NxcError):
    """A composition, a configuration file or an option is wrong."""

    exit_code = 3


class PluginError(NxcError):
    """A plugin is missing, broken, or does not speak this version of nxc."""

    exit_code = 4


class PreflightError(NxcError):
    """The machine lacks something; nothing has been started."""

    exit_code = 5


class BuildError(NxcError):
    """A build did not finish; what it made so far is kept and reused."""

    exit_code = 6


class DeployError(NxcError):
    """Nodes did not come up. ``deployment`` is the id of what is left of it, if anything."""

    exit_code = 7

    def __init__(self, message: str, *, hint: str = "", deployment: str = "") -> None:
        super().__init__(message, hint=hint)
        self.deployment = deployment


class CommandError(NxcError):
    """A command ended badly, or not in time (``code`` is then None)."""

    exit_code = 8

    def __init__(
        self, message: str, *, argv: tuple[str, ...], code: int | None, stderr: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = argv
        self.code = code
        self.stderr = stderr


class TeardownError(NxcError):
    """Something outside nxc could not be released; its claim is kept."""

    exit_code = 9


class StateError(NxcError):
    """What is on disk cannot be read, or belongs to someone else."""

    exit_code = 10


class Interrupted(NxcError):
    """The user asked to stop."""

    exit_code = 130
