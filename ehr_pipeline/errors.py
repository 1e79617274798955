"""Errors whose message is meant for the user: what is wrong, where, and what to do."""

import re

CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Control characters and invisible line separators, as the inside of a regular-expression character set."""
OVERRIDES = "\u202a-\u202e\u2066-\u2069"
"""Characters that change the direction of the text after them."""
DIRECTIONS = f"{OVERRIDES}\u061c\u200e\u200f"
"""`OVERRIDES` and the zero-width direction marks, which writers of Arabic and Hebrew need."""
SURROGATES = "\ud800-\udfff"
"""Lone surrogates, by which Python represents bytes of a file name that are not UTF-8."""
# Characters that can rewrite a terminal, forge a log line, or cannot be encoded at all.
_INVISIBLE = re.compile(f"[{CONTROLS}{OVERRIDES}{SURROGATES}]")
_UNPRINTED = re.compile(f"[{CONTROLS}{DIRECTIONS}{SURROGATES}]")
_DIRECTIONS = re.compile(f"[{DIRECTIONS}]")


def invisible_character(text: str) -> str:
    """Return the first invisible character of a text, such as a newline, written as an escape; '' if there is none."""
    found = _INVISIBLE.search(text)
    return _spelled(found) if found else ""


def printable(text: str) -> str:
    """Return the text for a terminal or a log: invisible characters except newlines are written as escapes."""
    return _UNPRINTED.sub(lambda found: found[0] if found[0] == "\n" else _spelled(found), text)


def undirected(text: str) -> str:
    """Return the text for a page: direction marks are written as escapes, since they could reverse the text next to a name."""
    return _DIRECTIONS.sub(_spelled, text)


def _spelled(found: "re.Match[str]") -> str:
    return found[0].encode("unicode_escape", errors="surrogatepass").decode("ascii")


class UserError(ValueError):
    """A problem that the user can fix: a setting, a file, a stage that has not been run.

    The command line prints only the message and exits with a non-zero code. Messages hold no patient ids or row content.
    """


class SettingsError(UserError):
    """One or more problems in a settings file, all reported at once."""

    def __init__(self, where: str, problems: list[str]):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  - {problem}" for problem in problems))


class InputError(UserError):
    """An input file does not fit its description in the settings."""


class MissingArtifact(UserError):
    """A stage needs an artifact that has not been made yet."""


class Damaged(UserError):
    """A file of an artifact does not match its manifest."""


class GateFailed(UserError):
    """An artifact failed a blocking check, so nothing may be built on it."""
