"""Slips of typing: how far apart words are, and that whatever is near enough is found."""

from __future__ import annotations

import random

import hypothesis
import pytest
from hypothesis import strategies as st

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_spelling as spelling
from tests.integration.inventory.catalog import goods

TENANT = "00000000-0000-7000-8000-0000deadbeef"
OTHER = "00000000-0000-7000-8000-0000feedbeef"
FEW_LETTERS = st.text("abc", min_size=1, max_size=7)
WORDS = st.text("abcdeé", min_size=3, max_size=14).map(lambda text: codes.words(text)[0])


def one_slip_from(word: str) -> set[str]:
    """All texts over a, b and c that one slip turns a word into."""
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    return {
        *(left + letter + right for left, right in cuts for letter in "abc"),
        *(left + right[1:] for left, right in cuts if right),
        *(left + letter + right[1:] for left, right in cuts if right for letter in "abc"),
        *(left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1),
    }


@hypothesis.given(FEW_LETTERS, FEW_LETTERS)
def test_the_slips_between_two_words_are_the_fewest_that_turn_one_into_the_other(typed: str, word: str) -> None:
    once = one_slip_from(word)
    expected = 0 if typed == word else 1 if typed in once else None
    if expected is None and any(typed in one_slip_from(each) for each in once):
        expected = 2

    assert spelling.slips(typed, word) == expected


@hypothesis.given(WORDS, st.integers(0, 2), st.randoms(use_true_random=False))
def test_a_word_with_so_many_slips_is_at_most_so_many_away_in_both_directions(
    word: str, edits: int, chance: random.Random
) -> None:
    typed = goods.slip(word, edits, chance) if edits else word

    found = spelling.slips(typed, word)

    assert found is not None
    assert found <= edits
    assert spelling.slips(word, typed) == found


@hypothesis.given(WORDS, st.integers(1, 2), st.randoms(use_true_random=False))
def test_a_word_is_found_by_what_was_typed_whatever_the_slips(word: str, edits: int, chance: random.Random) -> None:
    hypothesis.assume(edits <= spelling.slips_forgiven(word))
    typed = goods.slip(word, edits, chance)
    hypothesis.assume(len(typed) >= 3)

    assert not set(spelling.digests(TENANT, word)).isdisjoint(spelling.asked(TENANT, typed))
    assert spelling.meanings(typed, [word]) == {word: spelling.slips(typed, word)}


@hypothesis.given(st.text("abcdefgh", min_size=8, max_size=14), st.integers(6, 13), st.randoms(use_true_random=False))
def test_an_unfinished_word_is_found_with_one_slip(word: str, length: int, chance: random.Random) -> None:
    typed = goods.slip(word[:length], 1, chance)
    hypothesis.assume(len(typed) >= 6)

    assert not set(spelling.digests(TENANT, word)).isdisjoint(spelling.asked(TENANT, typed))
    assert word in spelling.meanings(typed, [word], unfinished=True)


def test_only_the_last_word_of_a_query_may_be_unfinished_with_a_slip() -> None:
    known = ["upholstered", "armchair"]

    assert spelling.meanings("uphlos", known, unfinished=True) == {"upholstered": 1}
    assert spelling.meanings("uphlo", known, unfinished=True) == {}
    assert spelling.guess(TENANT, "uphlos armchair", known) is None
    assert spelling.guess(TENANT, "armchair uphlos", known) is not None


@pytest.mark.parametrize(
    ("word", "forgiven"),
    [("oak", 0), ("rose", 1), ("blush", 2), ("30ml", 0), ("spf30", 0), ("x" * 40, 2), ("x" * 41, 0), ("роза", 1)],
)
def test_short_words_and_those_with_digits_forgive_fewer_slips(word: str, forgiven: int) -> None:
    assert spelling.slips_forgiven(word) == forgiven
    assert bool(spelling.digests(TENANT, word)) is (forgiven > 0)


def test_a_word_of_four_letters_is_not_meant_by_what_is_two_slips_away() -> None:
    assert spelling.meanings("roes", ["rose", "robe", "roses", "rosey"]) == {"rose": 1, "roses": 1, "rosey": 2}


def test_no_more_is_kept_of_a_word_than_a_few_dozen_digests() -> None:
    assert len(spelling.digests(TENANT, "x".join("upholstered"))) <= 29


def test_another_tenants_words_have_other_digests() -> None:
    assert set(spelling.digests(TENANT, "velvet")).isdisjoint(spelling.digests(OTHER, "velvet"))


def test_digests_are_whole_numbers_of_eight_bytes_with_a_sign() -> None:
    found = [each for word in goods.SERIES for each in spelling.digests(TENANT, word.lower())]

    assert -(2**63) <= min(found) < 0 < max(found) < 2**63


def test_a_guess_takes_each_word_as_typed_or_as_the_nearest_known_ones() -> None:
    guess = spelling.guess(TENANT, "velvte lipstik", ["velvet", "velours", "lipstick", "lipsticks"])

    assert guess == spelling.Guess(
        nearest="('deadbeefvelvte' | 'deadbeefvelvet') & ('deadbeeflipstik':* | 'deadbeeflipstick')",
        any="('deadbeefvelvte' | 'deadbeefvelvet') & ('deadbeeflipstik':* | 'deadbeeflipstick' | 'deadbeeflipsticks')",
        typed=["'deadbeefvelvte'", "'deadbeeflipstik':*"],
        once=["'deadbeefvelvet'", "'deadbeeflipstick'"],
    )


def test_a_word_that_is_known_is_first_of_all_itself() -> None:
    guess = spelling.guess(TENANT, "rose lipstick", ["rose", "robe", "rosé", "lipstick"])

    assert guess is not None
    assert guess.nearest == "('deadbeefrose') & ('deadbeeflipstick':*)"
    assert "'deadbeefrobe'" in guess.any


@pytest.mark.parametrize("query", ["velvet", "30ml x1", "ab", "", "!?", "zzzzzzz"])
def test_without_another_meaning_there_is_no_guess(query: str) -> None:
    assert spelling.guess(TENANT, query, ["velvet", "lipstick"]) is None


@hypothesis.given(st.text(max_size=100), st.lists(WORDS, max_size=20))
def test_any_query_has_a_guess_of_one_part_a_word_or_none(query: str, known: list[str]) -> None:
    guess = spelling.guess(TENANT, query, known)

    if guess is not None:
        assert len(guess.typed) == len(guess.once) == len(codes.words(query))
        assert guess.any.count(" & ") == guess.nearest.count(" & ") == len(guess.typed) - 1
