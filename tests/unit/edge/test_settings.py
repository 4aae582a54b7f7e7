"""Settings of the edge: what is refused, and how it is said."""

from __future__ import annotations

import pytest

from edge import __main__ as main
from edge import settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("TILLMESH_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ISSUER", "http://shop.example"),
        ("ISSUER", "https://shop.example/?tenant=1"),
        ("ISSUER", "https://"),
        ("METRICS_PORT", "many"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"TILLMESH_{variable}", value)
    with pytest.raises(settings.ConfigurationError, match=f"TILLMESH_{variable}"):
        settings.load()


@pytest.mark.parametrize("issuer", ["https://api.shop.example", "http://localhost:8080", "http://[::1]:8080/"])
def test_https_and_loopback_are_issuers(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    monkeypatch.setenv("TILLMESH_ISSUER", issuer)
    assert settings.load().issuer == issuer.rstrip("/")


def test_a_service_may_have_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLMESH_INVENTORY_ADDRESS", "unix:/run/a.sock, unix:/run/b.sock")
    monkeypatch.setenv("TILLMESH_ORDERS_ADDRESS", "")
    assert settings.load().service_addresses() == {"inventory": ["unix:/run/a.sock", "unix:/run/b.sock"]}


@pytest.mark.parametrize(
    ("listen", "options"),
    [
        ("unix:/run/tm/edge.sock", {"uds": "/run/tm/edge.sock"}),
        ("127.0.0.1:8081", {"host": "127.0.0.1", "port": 8081}),
        ("[::1]:8081", {"host": "::1", "port": 8081}),
    ],
)
def test_the_edge_listens_on_a_socket_or_a_port(listen: str, options: dict[str, object]) -> None:
    assert main.listen_options(listen) == options


@pytest.mark.parametrize("listen", ["", "nowhere", "host:", ":8080", "host:http"])
def test_an_address_that_is_neither_is_refused(listen: str) -> None:
    with pytest.raises(settings.ConfigurationError, match="TILLMESH_LISTEN"):
        main.listen_options(listen)
