from __future__ import annotations

import psycopg
import pytest

from services.mesh import databases, endpoints, environment, layout, parts, ports, secret_files, settings


@pytest.fixture
def env(home, cluster, monkeypatch):
    for name in ("HTTP_PORT", "HTTPS_PORT", "NATS_PORT", "METRICS_BASE_PORT"):
        monkeypatch.setenv(f"TILLMESH_{name}", "0")
    monkeypatch.setenv("TILLMESH_INVENTORY_PROCESSES", "2")
    chosen = settings.load()
    place = layout.of(home / "a b")
    doors = endpoints.plan(place, chosen, ports.choose(chosen))
    return environment.Environment(place, chosen, doors, cluster, embeds_nats=True)


@pytest.mark.parametrize("service", parts.WITH_DATABASE)
def test_the_urls_that_a_service_is_given_open_its_database(env, service):
    told = env.of(service, service)
    for url, user in zip(env.database(service), ("app", "worker", None), strict=True):
        assert url in told.values()
        with psycopg.connect(url) as connection:
            expected = f"{service}_{user}" if user else databases.MIGRATOR
            assert connection.execute("SELECT current_database(), session_user").fetchone() == (
                databases.database(service),
                expected,
            )


def test_no_part_is_told_of_anothers_database(env, monkeypatch):
    monkeypatch.setenv("TILLMESH_ORDERS_DATABASE_URL", "postgresql://secret")
    for part in ("inventory", "reviews", parts.EDGE):
        assert not any("ORDERS" in name and "DATABASE" in name for name in env.of(part, part))


def test_each_process_has_its_own_socket_and_port(env):
    one, two = env.of("inventory", "inventory"), env.of("inventory", "inventory-2")
    assert [path.rpartition("/")[2] for path in two["TILLMESH_LISTEN"].split(",")] == [
        "inventory-2.sock", "inventory-2.2.sock", "inventory-2.3.sock", "inventory-2.4.sock",
    ]  # fmt: skip
    assert not set(one["TILLMESH_LISTEN"].split(",")) & set(two["TILLMESH_LISTEN"].split(","))
    assert one["TILLMESH_METRICS_PORT"] != two["TILLMESH_METRICS_PORT"]
    assert one["TILLMESH_INVENTORY_ADDRESS"] == f"{one['TILLMESH_LISTEN']},{two['TILLMESH_LISTEN']}"


def test_a_service_signs_with_its_own_key_and_the_edge_with_none_of_them(env):
    assert env.of("orders", "orders")["TILLMESH_SERVICE_KEY_FILE"] == str(secret_files.service_key(env.place, "orders"))
    assert "TILLMESH_SERVICE_KEY_FILE" not in env.of(parts.EDGE, parts.EDGE)


def test_the_callers_python_settings_change_no_child(env, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    told = env.of("orders")
    assert "/elsewhere" not in told["PYTHONPATH"]
    assert "VIRTUAL_ENV" not in told


def test_an_outside_nats_is_passed_on_and_gets_no_port_here(home, monkeypatch):
    for name in ("HTTP_PORT", "HTTPS_PORT", "METRICS_BASE_PORT"):
        monkeypatch.setenv(f"TILLMESH_{name}", "0")
    monkeypatch.setenv("TILLMESH_NATS_URL", "nats://elsewhere.example:4222")
    chosen = settings.load()
    found = ports.choose(chosen)
    assert found.nats is None
    assert endpoints.plan(layout.of(home), chosen, found).nats == "nats://elsewhere.example:4222"
