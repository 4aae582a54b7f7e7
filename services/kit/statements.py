"""SQLAlchemy Core statements as queries of a pipelined connection: parameters in binary, rows with names.

A statement that is made once, at the top of a module, is compiled once for each set of parameters; what is put together
for a call is compiled for that call, which costs as much as ten executions. `IN` has no text of its own until it is
executed: use `= ANY (…)` of one array. A TextClause has to cast its parameters, `CAST(:name AS type)`.
"""

from __future__ import annotations

import collections
import datetime as dt
import functools
import json
import re
import struct
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import asyncpg

from services.kit import binary, pipeline

# Its parameters are numbered and cast, which is what pipelined statements need; the driver itself isn't used.
_DIALECT: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]
_CAST: Final = re.compile(r"CAST\(:(\w+) AS ([\w\[\] ]+)\)")
_UNCAST: Final = re.compile(r"(?<![:\w]):[a-z]\w*")
_SILENT: Final = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b(?!.*\bRETURNING\b)", re.IGNORECASE | re.DOTALL)
_READS: Final = re.compile(r"\s*SELECT\b", re.IGNORECASE)
_SMALL: Final = struct.Struct(">h").pack
_INTEGER: Final = struct.Struct(">i").pack
_SPAN: Final = struct.Struct(">qii").pack
_MISSING: Final = object()


def _uuid(value: uuid.UUID | str) -> bytes:
    return uuid.UUID(value).bytes if isinstance(value, str) else value.bytes


def _document(value: Any) -> bytes:
    return binary.document(json.dumps(value))


def _interval(value: dt.timedelta) -> bytes:
    return _SPAN(value.seconds * 1_000_000 + value.microseconds, value.days, 0)


Encoder = Callable[[Any], bytes]
_ENCODERS: Final[Sequence[tuple[type[sa.types.TypeEngine[Any]], Encoder]]] = (
    (sa.SmallInteger, _SMALL),
    (sa.BigInteger, binary.number),
    (sa.Integer, _INTEGER),
    (sa.Boolean, binary.boolean),
    (sa.UUID, _uuid),
    (sa.JSON, _document),
    (sa.String, binary.text),
    (sa.LargeBinary, bytes),
    (sa.DateTime, binary.moment),
    (sa.Date, binary.day),
    (sa.Interval, _interval),
)
_ARRAYS: Final[Sequence[tuple[type[sa.types.TypeEngine[Any]], Encoder]]] = (
    (sa.UUID, binary.uuids),
    (sa.String, binary.texts),
    (sa.BigInteger, binary.numbers),
)


class Result:
    """Rows of an answer, as far as stores ask for them. What only writes has none, and doesn't count what it wrote."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        """All rows."""
        return self._rows

    def one_or_none(self) -> Any:
        """The only row, or None. MultipleResultsFound."""
        if len(self._rows) > 1:
            raise sqlalchemy.exc.MultipleResultsFound
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """The only row. NoResultFound; MultipleResultsFound."""
        if (row := self.one_or_none()) is None:
            raise sqlalchemy.exc.NoResultFound
        return row

    def scalar_one_or_none(self) -> Any:
        """The first column of the only row, or None."""
        row = self.one_or_none()
        return None if row is None else row[0]

    def scalar_one(self) -> Any:
        """The first column of the only row."""
        return self.one()[0]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement that can be sent. silent: it has no rows to wait for; reads: it writes nothing."""

    statement: pipeline.Statement
    parameters: Sequence[tuple[str, Any, Encoder]]
    silent: bool
    reads: bool

    def result(self, rows: pipeline.Rows) -> Result:
        """Its answer."""
        return Result([_row(self.statement.columns)(row) for row in rows])

    def bind(self, values: Mapping[str, Any]) -> pipeline.Query:
        """With its parameters. KeyError when one is missing."""
        bound: list[bytes | None] = []
        for name, default, encode in self.parameters:
            value = values.get(name, default)
            if value is _MISSING:
                raise KeyError(name)
            bound.append(None if value is None else encode(value))
        return self.statement, bound


@functools.lru_cache(maxsize=1000)
def _row(columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    named: Any = collections.namedtuple("Row", columns, rename=True)  # type: ignore[misc]  # noqa: PYI024  # one a query
    make: Callable[[Sequence[Any]], Any] = named._make
    return make


_compiled: weakref.WeakKeyDictionary[Any, dict[frozenset[str], Compiled]] = weakref.WeakKeyDictionary()


def compiled(statement: sa.Executable, names: frozenset[str]) -> Compiled:
    """A statement for parameters of these names."""
    known = _compiled.setdefault(statement, {})
    found = known.get(names)
    if found is None:
        made = _of_text(statement) if isinstance(statement, sa.TextClause) else _of_core(statement, names)
        found = known[names] = made
    return found


def _of_core(statement: Any, names: frozenset[str]) -> Compiled:
    as_text = statement.compile(dialect=_DIALECT, column_keys=sorted(names) or None)
    if "POSTCOMPILE" in as_text.string:
        raise TypeError("IN isn't known before it is executed: use = ANY of an array")
    defaults, kinds = as_text.params, as_text.binds
    parameters = [
        (name, _MISSING if kinds[name].required else defaults[name], _encoder(kinds[name].type))
        for name in as_text.positiontup or ()
    ]
    return _made(as_text.string, parameters)


def _of_text(statement: sa.TextClause) -> Compiled:
    kinds = dict(_CAST.findall(statement.text))
    numbers = {name: f"${number}::{kind}" for number, (name, kind) in enumerate(kinds.items(), 1)}
    parameters = [(name, _MISSING, _uuid if kind == "uuid" else binary.ENCODERS[kind]) for name, kind in kinds.items()]
    sql = _CAST.sub(lambda found: numbers[found[1]], statement.text)
    if (uncast := _UNCAST.search(sql)) is not None:
        raise TypeError(f"a text has to cast its parameters, as in CAST({uncast[0]} AS text)")
    return _made(sql, parameters)


def _made(sql: str, parameters: Sequence[tuple[str, Any, Encoder]]) -> Compiled:
    silent, reads = _SILENT.match(sql) is not None, _READS.match(sql) is not None
    return Compiled(pipeline.Statement(sql), parameters, silent, reads)


def _encoder(kind: sa.types.TypeEngine[Any]) -> Encoder:
    of, table = (kind.item_type, _ARRAYS) if isinstance(kind, pg.ARRAY) else (kind, _ENCODERS)
    for each, encode in table:
        if isinstance(of, each):
            return encode
    raise TypeError(f"no binary form of {kind!r} is known")
