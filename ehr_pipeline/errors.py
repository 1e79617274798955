"""Errors whose message is meant for the user: what is wrong, where, and what to do."""


class UserError(ValueError):
    """Something that the user can mend: a setting, a file, a missing stage.

    The command line prints the message alone and ends with a non-zero code. Messages never hold patient ids or row content.
    """


class SettingsError(UserError):
    """One or more problems in a settings file, all told at once."""

    def __init__(self, where: str, problems: list[str]):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  - {problem}" for problem in problems))


class InputError(UserError):
    """An input file that cannot be used as the settings describe it."""


class MissingArtifact(UserError):
    """A stage was asked to read what has not been made yet."""


class GateFailed(UserError):
    """An artifact failed a blocking check, so nothing is built on it."""
