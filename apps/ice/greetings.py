"""What is said to a guest, and to whom nothing is said."""

from __future__ import annotations

PHRASES = {
    "de": "Hallo",
    "en": "Hello",
    "es": "Hola",
    "fi": "Hei",
    "fr": "Bonjour",
    "it": "Ciao",
    "pl": "Cześć",
}
LONGEST_NAME = 100
"""Characters."""
MOST_TIMES = 10


class Unkind(Exception):
    """A greeting that is not given, why, and perhaps what to ask for instead."""

    def __init__(self, why: str, suggestion: str | None = None) -> None:
        """`why` is for a person."""
        super().__init__(why)
        self.why = why
        self.suggestion = suggestion


def greeting(name: str, language: str | None = None, times: int | None = None) -> str:
    """Give the greeting of a guest; Unkind says why there is none."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise Unkind(f"a guest has a name, of at most {LONGEST_NAME} printable characters")
    word = PHRASES.get("en" if language is None else language)
    if word is None:
        raise Unkind(f"no greeting is known in {language!r:.20}", "choose " + ", ".join(PHRASES))
    if times is not None and not 1 <= times <= MOST_TIMES:
        raise Unkind(f"a guest is greeted 1 to {MOST_TIMES} times, not {times}")
    return " ".join([f"{word}, {name}!"] * (1 if times is None else times))
