"""Errors whose message is meant for the user: what is wrong, where, and what to do."""

import re

# Control characters, separators of lines that no editor shows, marks that turn the direction of text, and halves of surrogates
# (bytes of a file name that are no UTF-8): what can rewrite a terminal, forge a line of a log, or cannot be written down at all.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def unseen(text: str) -> str:
    """The first character of a text that is not to be seen, such as a newline or an escape, as it is written in code; or ''."""
    found = _UNSEEN.search(text)
    return _spelled(found) if found else ""


def printable(text: str) -> str:
    """A text for a terminal or a log: characters that are not to be seen are spelled, but for the newlines between lines."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else _spelled(found), text)


def _spelled(found: "re.Match[str]") -> str:
    return found[0].encode("unicode_escape", errors="surrogatepass").decode("ascii")


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


class Damaged(UserError):
    """A file of an artifact that is not what its manifest says."""


class GateFailed(UserError):
    """An artifact failed a blocking check, so nothing is built on it."""
