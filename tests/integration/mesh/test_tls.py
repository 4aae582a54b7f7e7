from __future__ import annotations

import asyncio
import datetime as dt
import ssl

import pytest

from services.mesh import tls

NOW = dt.datetime.now(dt.UTC)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_a_client_that_trusts_the_certificate_gets_through_by_name_and_address(home, name):
    certificate, key = tls.ensure_certificate(home, NOW)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        trusting = ssl.create_default_context(cafile=str(certificate))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
        assert await reader.read() == b""
        writer.close()


def test_a_certificate_is_kept_until_it_is_about_to_end(home):
    certificate, key = tls.ensure_certificate(home, NOW)
    first = certificate.read_bytes(), key.read_bytes()
    tls.ensure_certificate(home, NOW + dt.timedelta(days=700))
    assert (certificate.read_bytes(), key.read_bytes()) == first
    tls.ensure_certificate(home, NOW + dt.timedelta(days=800))
    assert certificate.read_bytes() != first[0]


def test_a_certificate_that_somebody_put_there_is_left_alone(home):
    for name in ("tls.crt", "tls.key"):
        (home / name).write_text("a real one")
    certificate, key = tls.ensure_certificate(home, NOW)
    assert (certificate.read_text(), key.read_text()) == ("a real one", "a real one")


def test_the_key_is_readable_by_the_owner_only(home):
    _, key = tls.ensure_certificate(home, NOW)
    assert key.stat().st_mode & 0o777 == 0o600
