"""Find names by words that a user types."""

import difflib
from collections.abc import Iterable


def with_all_words(words: str, names: Iterable[str]) -> list[str]:
    """Return the names with all words, in any order and case, the shortest first; none without a word.

    Terminologies write "Arthritis, Psoriatic" and users "psoriatic arthritis".
    """
    wanted = words.lower().split()
    return sorted((name for name in names if all(word in name.lower() for word in wanted)), key=len) if wanted else []


def nearest(words: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Return up to `most` names that contain all the words or resemble the text."""
    by_lower = {name.lower(): name for name in names}
    like = difflib.get_close_matches(words.lower(), list(by_lower), most, 0.6)
    found = [*with_all_words(words, by_lower.values()), *(by_lower[name] for name in like)]
    return list(dict.fromkeys(found))[:most]
