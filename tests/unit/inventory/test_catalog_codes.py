"""Barcodes, SKUs, categories and words, as values."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from services.inventory.domain import catalog_codes as codes
from services.kit import currencies

BODY = st.sampled_from([7, 11, 12, 13]).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n))
OTHER_DIGIT = st.integers(1, 9)


@pytest.mark.parametrize("gtin", ["40170725", "036000291452", "4006381333931", "10012345678902", "96385074"])
def test_published_gtins_have_right_check_digits(gtin: str) -> None:
    assert codes.is_gtin(gtin)


@hypothesis.given(BODY)
def test_a_body_with_its_check_digit_is_a_gtin(body: str) -> None:
    assert codes.is_gtin(body + codes.check_digit(body))


@hypothesis.given(BODY, st.data())
def test_one_wrong_digit_is_always_noticed(body: str, data: st.DataObject) -> None:
    gtin = body + codes.check_digit(body)
    place = data.draw(st.integers(0, len(gtin) - 1))
    wrong = str((int(gtin[place]) + data.draw(OTHER_DIGIT)) % 10)

    assert not codes.is_gtin(gtin[:place] + wrong + gtin[place + 1 :])


@hypothesis.given(BODY)
def test_leading_zeros_change_neither_a_gtin_nor_its_check_digit(body: str) -> None:
    gtin = body + codes.check_digit(body)

    assert codes.barcode_key(gtin) == codes.barcode_key(gtin.zfill(14)) == gtin.zfill(14)
    assert codes.is_gtin(codes.barcode_key(gtin))


@pytest.mark.parametrize("text", ["", "1", "123456789", "٤٠١٧٠٧٢٥", "²²²²²²²²", "4017072X"])
def test_what_has_another_length_or_no_plain_digits_is_no_gtin(text: str) -> None:
    assert not codes.is_gtin(text)


def test_an_own_code_stays_as_it_is() -> None:
    assert codes.barcode_key("LIP-01/a") == "LIP-01/a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rosée d'Été", ("rosee", "d", "ete")),
        ("STRASSE straße", ("strasse", "strasse")),
        ("Smørrebrød Łódź", ("smorrebrod", "lodz")),
        ("Face/Lip_stick-3.5", ("face", "lip", "stick", "3", "5")),
        ("!?", ()),
    ],
)
def test_words_have_no_case_no_accents_and_no_punctuation(text: str, expected: tuple[str, ...]) -> None:
    assert codes.words(text) == expected


@hypothesis.given(st.text(max_size=50))
def test_words_of_words_are_the_same_words(text: str) -> None:
    assert codes.words(" ".join(codes.words(text))) == codes.words(text)


@hypothesis.given(st.text("abcz0-._", min_size=1, max_size=5), st.text("abcz0-._", max_size=8))
def test_a_prefix_range_holds_what_begins_with_the_prefix_and_nothing_else(prefix: str, text: str) -> None:
    within = codes.prefix_range(prefix)

    assert (within.start <= text < within.end) == text.startswith(prefix)


@pytest.mark.parametrize(
    ("category", "inside"),
    [("Face", True), ("Face/Lipstick", True), ("Face/", True), ("Facecream", False), ("Fac", False), ("face", False)],
)
def test_a_category_holds_itself_and_what_is_below_it(category: str, inside: bool) -> None:
    within = codes.category_range("/Face/")

    assert within is not None
    assert (within.start <= codes.category_key(category) < within.end) is inside


def test_no_category_is_above_all() -> None:
    assert codes.category_range("/") is None


TENANT = "00000000-0000-7000-8000-0000deadbeef"


def test_a_query_may_mean_a_sku_a_barcode_or_words() -> None:
    assert codes.search(TENANT, "40170725") == codes.Search(
        codes.prefix_range("40170725"), "00000040170725", "'deadbeef40170725'", "'deadbeef40170725':*"
    )


def test_only_the_last_word_of_a_query_may_be_unfinished() -> None:
    query = codes.search(TENANT, "red Lip")

    assert query == codes.Search(None, None, "'deadbeefred' & 'deadbeeflip'", "'deadbeefred' & 'deadbeeflip':*")


def test_a_last_word_of_one_letter_is_taken_as_it_is() -> None:
    assert codes.search(TENANT, "size m").unfinished is None


def test_a_query_without_words_and_codes_means_nothing() -> None:
    assert codes.search(TENANT, "¿ …") == codes.Search(None, None, None, None)


@hypothesis.given(*[st.text(max_size=40)] * 4)
def test_a_document_has_each_word_once_with_its_places_and_weights(
    name: str, feature: str, category: str, detail: str
) -> None:
    texts = codes.Texts(names=(name,), features=(feature,), category=category, details=(detail,))
    text = codes.document(TENANT, texts, ["deadbeef=1"])

    *lexemes, extra = [part.rsplit(":", 1) for part in text.split(" ")]
    wanted = [(word, weight) for weight, given in zip("ABCD", (name, feature, category, detail), strict=True)
              for word in codes.words(given)]  # fmt: skip
    assert [word for word, _ in lexemes] == [f"'deadbeef{word}'" for word in dict.fromkeys(word for word, _ in wanted)]
    placed = {place: word for word, places in lexemes for place in places.split(",")}
    assert placed == {f"{n}{weight}": f"'deadbeef{word}'" for n, (word, weight) in enumerate(wanted, 1)}
    assert extra == ["'deadbeef=1'"]


@hypothesis.given(st.text(max_size=200))
def test_no_word_is_too_long_for_the_index(text: str) -> None:
    assert all(len(word.encode()) <= 2046 - len(codes.tag(TENANT)) for word in codes.words(text * 20))


@pytest.mark.parametrize(
    ("query", "named"), [(" lip-1", True), ("4006381333931", True), ("lip", False), ("lip-1 x", False)]
)
def test_a_query_names_a_variant_by_its_sku_or_a_barcode(query: str, named: bool) -> None:
    assert codes.names(query, "LIP-1", ["04006381333931"]) is named


def test_currencies_have_the_exponents_of_iso_4217() -> None:
    assert (currencies.EXPONENTS["EUR"], currencies.EXPONENTS["JPY"], currencies.EXPONENTS["KWD"]) == (2, 0, 3)


@pytest.mark.parametrize("code", ["XXX", "XTS", "XAU", "eur", "EURO", "ABC"])
def test_what_nobody_pays_with_is_no_currency(code: str) -> None:
    assert not currencies.is_known(code)
