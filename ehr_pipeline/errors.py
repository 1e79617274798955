"""Errors whose message is meant for the user: what is wrong, where, and what to do."""

import re

CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Control characters, and separators of lines that no editor shows, for a set in a regular expression."""
OVERRIDES = "\u202a-\u202e\u2066-\u2069"
"""Marks that turn the direction of the text after them."""
DIRECTIONS = f"{OVERRIDES}\u061c\u200e\u200f"
"""These, and the marks of one place, which writers of Arabic and Hebrew need."""
SURROGATES = "\ud800-\udfff"
"""Halves of characters: bytes of a file name that are no UTF-8."""
# What can rewrite a terminal, forge a line of a log, or cannot be written down at all.
_UNSEEN = re.compile(f"[{CONTROLS}{OVERRIDES}{SURROGATES}]")
_UNPRINTED = re.compile(f"[{CONTROLS}{DIRECTIONS}{SURROGATES}]")
_DIRECTIONS = re.compile(f"[{DIRECTIONS}]")


def unseen(text: str) -> str:
    """The first character of a text that is not to be seen, such as a newline or an escape, as it is written in code; or ''."""
    found = _UNSEEN.search(text)
    return _spelled(found) if found else ""


def printable(text: str) -> str:
    """A text for a terminal or a log: characters that are not to be seen are spelled, but for the newlines between lines."""
    return _UNPRINTED.sub(lambda found: found[0] if found[0] == "\n" else _spelled(found), text)


def undirected(text: str) -> str:
    """A text for a page: marks of direction are spelled, since they turn round what stands beside a name."""
    return _DIRECTIONS.sub(_spelled, text)


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
