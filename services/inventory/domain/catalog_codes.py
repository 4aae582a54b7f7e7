"""Codes that name things: SKUs, barcodes, and the words that people look for them by."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

GTIN_LENGTHS = (8, 12, 13, 14)
GTIN_LENGTH = 14  # every GTIN is kept and compared with leading zeros to this length (GS1 General Specifications)

# Letters that Unicode doesn't take apart, as people without them on the keyboard type them.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h", "ŧ": "t"}
)
_WORD = re.compile(r"[^\W_]+")
_CODE = re.compile(r"[!-~]{1,64}")
_SKU = re.compile(r"[a-z0-9._-]{1,64}")
_PREFIX_LENGTH_MIN = 2  # of one letter, nearly every word is a continuation
_WORD_LENGTH_MAX = 100  # PostgreSQL refuses lexemes over 2,046 bytes; of longer words the beginning counts


def sku_key(sku: str) -> str:
    """What SKUs and codes are compared by: they are the same without regard to case."""
    return sku.lower()


def check_digit(digits: str) -> str:
    """GS1 check digit of a GTIN's other digits: weights 3 and 1 from the right."""
    total = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def is_gtin(text: str) -> bool:
    """Whether text is a GTIN-8, -12, -13 or -14 with a right check digit."""
    digits = text.isascii() and text.isdigit()
    return digits and len(text) in GTIN_LENGTHS and text[-1] == check_digit(text[:-1])


def barcode_key(text: str) -> str:
    """How a barcode is kept: a GTIN as 14 digits, an own code as it is. Says nothing about validity."""
    numeric = text.isascii() and text.isdigit() and len(text) in GTIN_LENGTHS
    return text.zfill(GTIN_LENGTH) if numeric else text


def is_code(text: str) -> bool:
    """Whether text can be a SKU or a barcode at all."""
    return _CODE.fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)  # axes, attributes and their values repeat
def folded(text: str) -> str:
    """What names and values that people give are compared by: without case, outer space and ways to encode a letter."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


@functools.lru_cache(maxsize=4096)  # brands, categories and shades repeat
def words(text: str) -> tuple[str, ...]:
    """The words of a text, folded: without case, accents and punctuation, and cut where they are too long to index."""
    apart = text
    for _ in range(2):  # taking letters apart may bring capitals to light, and folding those others
        apart = unicodedata.normalize("NFKD", apart.casefold())
    plain = "".join(each for each in apart if not unicodedata.combining(each))
    return tuple(word[:_WORD_LENGTH_MAX] for word in _WORD.findall(plain.translate(_PLAIN)))


def tag(tenant: str) -> str:
    """What stands before each word of a tenant (uuid text) in the index: the end of a UUIDv7 is random.

    Should two tenants share it, their searches are slower and as separate as before.
    """
    return tenant[-8:]


@dataclass(frozen=True, slots=True)
class Texts:
    """What a variant is found by. names weigh most, then features (brand, options), category, details (attributes)."""

    names: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    category: str = ""
    details: tuple[str, ...] = ()

    def weighed(self) -> Iterator[tuple[str, Iterable[str]]]:
        """Its texts, with the letter that PostgreSQL has for their weight, in order."""
        yield from (("A", self.names), ("B", self.features), ("C", (self.category,)), ("D", self.details))


def document(tenant: str, texts: Texts, lexemes: Iterable[str] = ()) -> str:
    """A variant in the word index, as PostgreSQL's text of a tsvector. lexemes: what else it has, as it is.

    Written here and not by to_tsvector: query and document are split by the same rule, whatever a server's locale is.
    """
    mark, place = tag(tenant), 0
    found: dict[str, list[str]] = {}
    for weight, given in texts.weighed():
        for text in given:
            for word in words(text):
                place += 1
                found.setdefault(word, []).append(f"{place}{weight}")
    return " ".join(
        [*(f"'{mark}{word}':{','.join(places)}" for word, places in found.items()), *(f"'{each}'" for each in lexemes)]
    )


@dataclass(frozen=True, slots=True)
class Range:
    """Half open: from start, below end, by code points."""

    start: str
    end: str


def prefix_range(prefix: str) -> Range:
    """All texts that begin with a non-empty ASCII prefix."""
    return Range(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))


def category_path(category: str) -> str:
    """A category's path without slashes around it."""
    return category.strip("/")


def category_key(category: str) -> str:
    """What categories are compared by: the path and a slash, so that a category and all below it are one range."""
    return category_path(category) + "/"


def category_range(category: str) -> Range | None:
    """The keys of a category and all below it; None for the empty one, which is above all."""
    return prefix_range(category_key(category)) if category_path(category) else None


@dataclass(frozen=True, slots=True)
class Search:
    """What a query may mean: the beginning of a SKU, a barcode, words, or several of them.

    Words are PostgreSQL's text of a tsquery: all of them whole, and with the last one as a beginning.
    """

    skus: Range | None
    barcode: str | None
    words: str | None
    unfinished: str | None


def term(tenant: str, word: str, *, unfinished: bool = False) -> str:
    """A word, or with unfinished all that it begins, as PostgreSQL's text of a tsquery."""
    return f"'{tag(tenant)}{word}'" + (":*" if unfinished else "")


def may_be_unfinished(word: str) -> bool:
    """Whether words that go on from the last one of a query are looked for too."""
    return len(word) >= _PREFIX_LENGTH_MIN


def search(tenant: str, query: str) -> Search:
    """Reads a query of a person or a scanner. The last word may be unfinished."""
    text = query.strip()
    key = sku_key(text)
    found = words(text)
    whole = " & ".join(term(tenant, word) for word in found)
    return Search(
        skus=prefix_range(key) if _SKU.fullmatch(key) else None,
        barcode=barcode_key(text) if is_code(text) else None,
        words=whole or None,
        unfinished=f"{whole}:*" if found and may_be_unfinished(found[-1]) else None,
    )


def names(query: str, sku: str, barcodes: Iterable[str]) -> bool:
    """Whether a query is the SKU or a barcode of a variant."""
    text = query.strip()
    return sku_key(text) == sku_key(sku) or barcode_key(text) in barcodes
