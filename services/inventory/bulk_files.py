"""Rows in and out of CSV and Parquet, and where files are kept. Reads and writes row by row, whatever a file's size."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

import obstore
import obstore.store

from services.inventory.domain import bulk

CHUNK_BYTES: Final = 256 * 1024
BATCH_ROWS: Final = 1000
_UPLOAD_BYTES: Final = 8 * 1024 * 1024


class Store:
    """Files by name, in a folder or in S3 (`s3://bucket/prefix`)."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        if not url:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._store: Any = obstore.store.LocalStore(folder)
        else:
            self._store = obstore.store.from_url(url)

    async def put(self, name: str, data: bytes) -> None:
        """Keeps a file, in the place of one of the same name."""
        await obstore.put_async(self._store, name, data)

    async def put_file(self, name: str, file: IO[bytes]) -> None:
        """Keeps a file that lies on this disk, in parts: it may be larger than memory."""
        async with obstore.open_writer_async(self._store, name, buffer_size=_UPLOAD_BYTES) as writer:
            while chunk := file.read(CHUNK_BYTES):
                await writer.write(chunk)

    async def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is none."""
        try:
            return int((await obstore.head_async(self._store, name))["size"])
        except FileNotFoundError:
            return None

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        """A file in pieces of about CHUNK_BYTES. FileNotFoundError."""
        found = await obstore.get_async(self._store, name)
        async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
            whole = bytes(chunk)
            for start in range(0, len(whole), CHUNK_BYTES):
                yield whole[start : start + CHUNK_BYTES]

    async def delete(self, names: Sequence[str]) -> None:
        """Removes files; those that aren't there are no error."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, name)

    @contextlib.asynccontextmanager
    async def on_disk(self, names: Sequence[str]) -> AsyncIterator[IO[bytes]]:
        """Several files as one temporary file. FileNotFoundError."""
        with tempfile.TemporaryFile() as file:
            for name in names:
                async for chunk in self.chunks(name):
                    file.write(chunk)
            file.seek(0)
            yield file


def part_name(job: bulk.Job, part: int) -> str:
    """Where a part of an import's file is kept."""
    return f"{job.tenant}/{job.id}/{part:03}"


def file_name(job: bulk.Job) -> str:
    """Where the file of an export is kept."""
    return f"{job.tenant}/{job.id}/file"


# --- reading ---


def read(file: IO[bytes], kind: bulk.Kind, form: bulk.Format, after: int) -> Generator[bulk.Row, None, None]:
    """The rows of a file behind the first `after`. BadFile, at the start or where it can't be read any further."""
    columns = bulk.COLUMNS[kind]
    rows = _read_parquet(file, columns, after) if form is bulk.Format.PARQUET else _read_csv(file, columns, after)
    for row in rows:
        if row.number > bulk.ROWS_MAX:
            raise bulk.BadFile(f"a file has at most {bulk.ROWS_MAX} rows")
        yield row


def _read_csv(file: IO[bytes], columns: bulk.Columns, after: int) -> Iterator[bulk.Row]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", errors="strict")
    try:
        csv.field_size_limit(bulk.ROW_BYTES_MAX)
        records = csv.reader(text, strict=True)
        header = [name.strip() for name in next(records, [])]
        columns.check(header)
        number = 0
        for record in records:
            if not record:
                continue  # an empty line
            number += 1
            if number > after:
                yield _row(number, records.line_num, header, record)
    except UnicodeDecodeError:
        raise bulk.BadFile("the file is not UTF-8") from None
    except csv.Error as error:
        raise bulk.BadFile(f"line {records.line_num}: {error}") from None
    finally:
        text.detach()  # the file is the caller's


def _row(number: int, line: int, header: Sequence[str], record: Sequence[str]) -> bulk.Row:
    if len(record) != len(header):
        return bulk.Row(number, line, {}, f"has {len(record)} fields; the header has {len(header)}")
    return bulk.Row(number, line, dict(zip(header, record, strict=True)))


def _read_parquet(file: IO[bytes], columns: bulk.Columns, after: int) -> Iterator[bulk.Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
        columns.check(opened.schema_arrow.names)
        number = 0
        for batch in opened.iter_batches(batch_size=BATCH_ROWS):
            if number + batch.num_rows <= after:
                number += batch.num_rows
                continue
            for record in batch.to_pylist():
                number += 1
                if number > after:
                    yield bulk.Row(number, 0, {name: _text(value) for name, value in record.items()})
    except (pa.ArrowException, OSError) as error:
        raise bulk.BadFile(f"the file is not Parquet that can be read: {error}") from None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


# --- writing ---


class Writer(Protocol):
    """Writes the rows of an export."""

    def write(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Some more rows."""

    def close(self) -> None:
        """No more rows come."""


def writer(file: IO[bytes], kind: bulk.Kind, form: bulk.Format) -> Writer:
    """A writer of a format, with the columns of the kind."""
    names = bulk.EXPORTED[kind]
    return _ParquetWriter(file, names) if form is bulk.Format.PARQUET else _CsvWriter(file, names)


class _CsvWriter:
    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._text, names)
        self._writer.writeheader()

    def write(self, rows: Sequence[Mapping[str, str]]) -> None:
        self._writer.writerows(rows)

    def close(self) -> None:
        self._text.detach()


class _ParquetWriter:
    """Every column is text, as in CSV: what is read back is what was written."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._schema = pa.schema([(name, pa.string()) for name in names])
        self._batch = pa.RecordBatch
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, rows: Sequence[Mapping[str, str]]) -> None:
        if rows:
            self._writer.write_batch(self._batch.from_pylist(list(rows), schema=self._schema))

    def close(self) -> None:
        self._writer.close()
