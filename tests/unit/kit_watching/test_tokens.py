"""Promises of resume tokens."""

from __future__ import annotations

import string

import hypothesis
import pytest
from hypothesis import strategies as st

from services.kit import errors
from services.kit.watching import tokens
from services.kit.watching.ports import Position

SCOPE = tokens.scope("ten_1", "loc_1", None)
BASE64URL = string.ascii_letters + string.digits + "-_"


@hypothesis.given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_token_gives_back_its_position(epoch: int, seq: int) -> None:
    token = tokens.at(Position(epoch, seq), SCOPE)

    assert tokens.decode(token, SCOPE) == tokens.Token(Position(epoch, seq), restart=False)
    assert len(token) == 40
    assert set(token) <= set(BASE64URL)


def test_a_restart_token_begins_anew() -> None:
    assert tokens.decode(tokens.restart(SCOPE), SCOPE).restart


@pytest.mark.parametrize(
    "other",
    [
        tokens.scope("ten_2", "loc_1", None),
        tokens.scope("ten_1", "loc_2", None),
        tokens.scope("ten_1", "loc_1", frozenset({"a"})),
        tokens.scope("ten_1", "loc_1", frozenset()),
    ],
)
def test_a_token_is_good_for_one_tenant_key_and_filter(other: bytes) -> None:
    with pytest.raises(errors.ResyncRequired):
        tokens.decode(tokens.at(Position(1, 2), SCOPE), other)


def test_the_order_of_a_filter_does_not_matter() -> None:
    assert tokens.scope("t", "k", frozenset("abc")) == tokens.scope("t", "k", frozenset("cba"))
    assert tokens.scope("t", "k", frozenset({"a", "b"})) != tokens.scope("t", "k", frozenset({"a.b"}))


@hypothesis.given(st.integers(0, 39), st.sampled_from(BASE64URL))
def test_any_change_of_a_token_is_noticed(place: int, letter: str) -> None:
    token = tokens.at(Position(7, 123_456), SCOPE)
    changed = token[:place] + letter + token[place + 1 :]
    if changed == token:
        return
    with pytest.raises(errors.ResyncRequired):
        tokens.decode(changed, SCOPE)


@hypothesis.given(st.text(max_size=60))
def test_anything_else_is_refused_without_a_fault(text: str) -> None:
    with pytest.raises((errors.InvalidRequest, errors.ResyncRequired)):
        tokens.decode(text, SCOPE)


SEVERAL = tokens.several_scope("ten_1", ["loc_1", "loc_2"], None)


@hypothesis.given(st.lists(st.none() | st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), max_size=50))
def test_a_token_of_several_keys_gives_back_each_position(found: list[tuple[int, int] | None]) -> None:
    reached = [None if at is None else Position(*at) for at in found]
    token = tokens.several(reached, SEVERAL)

    told = tokens.decode_several(token, SEVERAL, len(reached))
    assert [None if one.restart else one.position for one in told] == reached
    assert len(token) <= 1200
    assert set(token.rstrip("=")) <= set(BASE64URL)


@hypothesis.given(st.data())
def test_a_damaged_token_of_several_keys_is_refused(data: st.DataObject) -> None:
    token = tokens.several([Position(1, 2), None], SEVERAL)
    place = data.draw(st.integers(0, len(token.rstrip("=")) - 1))
    letter = data.draw(st.sampled_from(BASE64URL).filter(lambda other: other != token[place]))
    damaged = token[:place] + letter + token[place + 1 :]
    try:
        told = tokens.decode_several(damaged, SEVERAL, 2)
    except (errors.ResyncRequired, errors.InvalidRequest):
        return
    assert told == tokens.decode_several(token, SEVERAL, 2)  # bits of the last letter that mean nothing


@pytest.mark.parametrize("keys", [["loc_1"], ["loc_1", "loc_3"], ["loc_1", "loc_2", "loc_3"]])
def test_a_token_of_several_keys_is_good_for_those_keys_only(keys: list[str]) -> None:
    token = tokens.several([Position(1, 2)] * len(keys), SEVERAL)
    with pytest.raises(errors.ResyncRequired):
        tokens.decode_several(token, tokens.several_scope("ten_1", keys, None), len(keys))


def test_tokens_of_one_key_and_of_several_are_not_taken_for_each_other() -> None:
    one = tokens.scope("ten_1", "loc_1", None)
    refused = (errors.ResyncRequired, errors.InvalidRequest)
    with pytest.raises(refused):
        tokens.decode_several(tokens.at(Position(1, 2), one), one, 1)
    with pytest.raises(refused):
        tokens.decode(tokens.several([Position(1, 2)], one), one)
