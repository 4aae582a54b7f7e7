"""Slips of typing: which known words somebody may have meant by what they typed.

Slips are letters put in, left out, exchanged, or swapped with their neighbour (the Damerau-Levenshtein distance, with
no limit to how often a letter is touched). Two words that are at most n slips apart have something in common that is
left of both when up to n of their letters are left out (symmetric deletion, as in SymSpell): known words are kept with
digests of all that may be left of their beginning, what was typed is looked up by the same digests, and what is found
is measured.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.inventory.domain import catalog_codes as codes

SLIPS_MAX = 2
LETTERS_MIN = 4  # in shorter words, every second word is one slip from another
LETTERS_FOR_TWO = 5
LETTERS_MAX = 40  # longer ones are codes, or several words run together
BEGINNING_LETTERS = 7  # digests of the whole word would be several times as many and hardly more selective
#: One slip is forgiven in a word that isn't typed to its end: what is left of fewer letters is not among the digests.
UNFINISHED_LETTERS_MIN = 6
REMAINDER_LETTERS_MIN = LETTERS_MIN - 1
#: With so many matches as typed, nobody asks for others.
ENOUGH_MATCHES = 3
WORDS_MAX = 8  # of a query are corrected
MEANINGS_MAX = 30  # of a word are looked for
_DIGEST_BYTES = 8


def slips_forgiven(word: str) -> int:
    """How many slips in a known word are forgiven. Words with digits are sizes, shades and models: never any."""
    if not word.isalpha() or not LETTERS_MIN <= len(word) <= LETTERS_MAX:
        return 0
    return SLIPS_MAX if len(word) >= LETTERS_FOR_TWO else 1


def _may_be_wrong(typed: str) -> bool:
    return typed.isalpha() and REMAINDER_LETTERS_MIN <= len(typed) <= LETTERS_MAX + SLIPS_MAX


def remainders(word: str, left_out: int) -> set[str]:
    """What may be left of a word's beginning when up to left_out of its letters are left out."""
    beginning = word[:BEGINNING_LETTERS]
    least = max(REMAINDER_LETTERS_MIN, len(beginning) - left_out)
    return {
        "".join(letters)
        for length in range(least, len(beginning) + 1)
        for letters in itertools.combinations(beginning, length)
    }


def _digests(tenant: str, parts: Iterable[str]) -> list[int]:
    """Signed 64 bits each. The tenant is digested too: one index serves all, and a look-up finds one's own words."""
    key = tenant.encode()
    return sorted(
        int.from_bytes(hashlib.blake2b(part.encode(), digest_size=_DIGEST_BYTES, key=key).digest(), signed=True)
        for part in parts
    )


def digests(tenant: str, word: str) -> list[int]:
    """What a known word is found by. None for words in which no slip is forgiven."""
    forgiven = slips_forgiven(word)
    return _digests(tenant, remainders(word, forgiven)) if forgiven else []


def asked(tenant: str, query: str) -> list[int]:
    """What the words that a query may mean are looked up by; nothing when none of them can be corrected."""
    typed = {word for word in codes.words(query)[:WORDS_MAX] if _may_be_wrong(word)}
    return _digests(tenant, {part for word in typed for part in remainders(word, SLIPS_MAX)})


def slips(typed: str, word: str) -> int | None:
    """How many slips lie between two words; None for more than SLIPS_MAX."""
    if abs(len(typed) - len(word)) > SLIPS_MAX or _misses(typed, word) or _misses(word, typed):
        return None
    start = 0
    for one, other in zip(typed, word, strict=False):  # what they begin and end with alike needs no table
        if one != other:
            break
        start += 1
    end = 0
    while end < min(len(typed), len(word)) - start and typed[-1 - end] == word[-1 - end]:
        end += 1
    found = _distance(typed[start : len(typed) - end], word[start : len(word) - end])
    return found if found <= SLIPS_MAX else None


def _misses(one: str, other: str) -> bool:
    """Whether more letters of one are not in the other at all than slips explain: soon known, and nearly always so."""
    return len(set(one).difference(other)) > SLIPS_MAX


def _distance(one: str, other: str) -> int:
    """The Damerau-Levenshtein distance of two short texts (Lowrance and Wagner, 1975).

    costs[i + 1][j + 1] is the distance of the first i letters of one to the first j of other; the row and the column
    before them keep swaps from reaching outside.
    """
    far = len(one) + len(other)
    costs: list[list[int]] = [[far] * (len(other) + 2), [far, *range(len(other) + 1)]]
    seen: dict[str, int] = {}  # the last place of a letter in one
    for i, letter in enumerate(one, 1):
        row, matched = [far, i], 0
        for j, against in enumerate(other, 1):
            same = letter == against
            swapped = seen.get(against, 0)
            row.append(
                min(
                    costs[i][j] + (not same),
                    row[j] + 1,
                    costs[i][j + 1] + 1,
                    costs[swapped][matched] + (i - swapped - 1) + 1 + (j - matched - 1),
                )
            )
            matched = j if same else matched
        costs.append(row)
        seen[letter] = i
    return costs[-1][-1]


def _slips_forgiven(typed: str, word: str, *, unfinished: bool) -> int | None:
    """How many slips somebody would have made who meant a word; None: they didn't mean it."""
    found = slips(typed, word)
    if found is not None and found <= slips_forgiven(word):
        return found
    return 1 if unfinished and _begins(typed, word) else None


def _begins(typed: str, word: str) -> bool:
    """Whether what was typed is one slip from the beginning of a longer word."""
    length = len(typed)
    if not UNFINISHED_LETTERS_MIN <= length < len(word) <= LETTERS_MAX or not word.isalpha():
        return False
    return any(slips(typed, word[:end]) in {0, 1} for end in (length - 1, length, length + 1))


def meanings(typed: str, known: Iterable[str], *, unfinished: bool = False) -> dict[str, int]:
    """The known words that may have been meant, and with how many slips, the likeliest first: at most MEANINGS_MAX."""
    if not _may_be_wrong(typed):
        return {}
    measured = ((_slips_forgiven(typed, word, unfinished=unfinished), word) for word in known)
    found = [(count, word) for count, word in measured if count is not None]
    # The first letter is seldom wrong; the rest of the order only says which of too many are left out.
    found.sort(key=lambda each: (each[0], each[1][0] != typed[0], abs(len(each[1]) - len(typed)), each[1]))
    return {word: count for count, word in found[:MEANINGS_MAX]}


@dataclass(frozen=True, slots=True)
class Guess:
    """What a query may mean when slips are forgiven, as PostgreSQL's texts of tsqueries.

    nearest: with each word as the known ones that are nearest to it; any: as all known ones that are near enough. For
    each word, typed: as it stands there; once: with one slip, or None.
    """

    nearest: str
    any: str
    typed: Sequence[str]
    once: Sequence[str | None]


def guess(tenant: str, query: str, known: Sequence[str]) -> Guess | None:
    """What a query may mean besides what it says. None: nothing. known: at least the words that `asked` finds."""
    typed = codes.words(query)
    last = len(typed) - 1
    meant = [
        meanings(word, known, unfinished=index == last) if index < WORDS_MAX else {} for index, word in enumerate(typed)
    ]
    if not any(count for each in meant for count in each.values()):
        return None
    as_typed = [
        codes.term(tenant, word, unfinished=index == last and codes.may_be_unfinished(word))
        for index, word in enumerate(typed)
    ]
    return Guess(
        nearest=_all_of(tenant, as_typed, [_nearest(each) for each in meant]),
        any=_all_of(tenant, as_typed, [[word for word, count in each.items() if count] for each in meant]),
        typed=as_typed,
        once=[_one_of(tenant, [word for word, count in each.items() if count == 1]) for each in meant],
    )


def _nearest(meant: Mapping[str, int]) -> list[str]:
    least = min(meant.values(), default=0)
    return [word for word, count in meant.items() if count == least and count]


def _one_of(tenant: str, words: Iterable[str]) -> str | None:
    return " | ".join(codes.term(tenant, word) for word in words) or None


def _all_of(tenant: str, as_typed: Sequence[str], others: Sequence[Sequence[str]]) -> str:
    """Each word as it was typed, or as one of the others."""
    pairs = zip(as_typed, others, strict=True)
    return " & ".join(
        f"({' | '.join([typed, *(codes.term(tenant, each) for each in words)])})" for typed, words in pairs
    )
