from __future__ import annotations

import socket

import pytest

from services.mesh import faults, ports


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use_is_one_sentence_that_names_the_setting(taken):
    with pytest.raises(faults.Refusal) as refused:
        ports.pick({"http": ports.Wish("TILLMESH_HTTP_PORT", taken)})
    assert str(refused.value) == (
        f"Port {taken} is in use by another program: set TILLMESH_HTTP_PORT to another (0 picks a free one)."
    )


def test_two_doors_on_one_port_are_refused():
    free = ports.pick({"any": ports.Wish("", 0)})["any"]
    with pytest.raises(faults.Refusal, match="is asked for twice: change TILLMESH_HTTPS_PORT"):
        ports.pick({"a": ports.Wish("TILLMESH_HTTP_PORT", free), "b": ports.Wish("TILLMESH_HTTPS_PORT", free)})


def test_free_ports_differ_and_lie_below_those_of_outgoing_connections():
    found = ports.pick({str(number): ports.Wish("", 0) for number in range(50)})
    assert len(set(found.values())) == 50
    assert max(found.values()) < 32768


def test_a_wished_port_is_not_given_away_as_a_free_one():
    wished = ports.pick({"any": ports.Wish("", 0)})["any"]
    assert ports.pick({"free": ports.Wish("", 0), "fixed": ports.Wish("X", wished)})["fixed"] == wished
