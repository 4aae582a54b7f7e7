"""`python -m edge` as a process: how it starts, stops and refuses to start; scripts/token beside it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_a_request_in_progress_is_answered_before_a_clean_stop(folder: Path, start_edge: Any) -> None:
    with start_edge(folder) as edge, socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(10)
        caller.connect(f"{folder}/edge.sock")
        form = b"content-type: application/x-www-form-urlencoded\r\ncontent-length: 29\r\n"
        head = b"POST /oauth2/token HTTP/1.1\r\nhost: edge\r\n" + form
        caller.sendall(head + b"expect: 100-continue\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 100")  # The edge has the request now and waits for its body.
        edge.process.terminate()
        caller.sendall(b"grant_type=client_credentials")
        assert caller.recv(1000).startswith(b"HTTP/1.1 401")
        assert edge.process.wait(10) == 0


def run_edge(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"TILLMESH_DATA": str(folder / "data"), "PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, "-m", "edge"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)


def test_a_setting_that_cannot_work_ends_in_one_sentence(folder: Path) -> None:
    ended = run_edge(folder, TILLMESH_ISSUER="http://shop.example")
    assert ended.returncode == 78
    assert "TILLMESH_ISSUER" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_damaged_file_ends_in_one_sentence(folder: Path) -> None:
    (folder / "data" / "edge" / "clients.json").write_text("{")
    ended = run_edge(folder)
    assert ended.returncode == 78
    assert "clients.json" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_clients_that_become_unreadable_stay_as_they_were(folder: Path, start_edge: Any) -> None:
    with start_edge(folder) as edge:
        (edge.data / "edge" / "clients.json").write_text("{")
        assert edge.token_request().status_code == 200
        edge.event("clients.unreadable")


def test_metrics_are_on_a_port_of_their_own(edge: Any) -> None:
    edge.token_request()
    (port,) = [line["port"] for line in edge.log if line["event"] == "metrics.listening"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'tillmesh_edge_tokens_total{outcome="issued"}' in text
    assert 'tillmesh_edge_requests_total{method="POST",path="/oauth2/token",status="200"}' in text
    assert edge.http.get("/metrics").status_code == 404


def test_log_lines_carry_the_trace_id(edge: Any) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    edge.http.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=edge.credentials("admin"),
        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
    )
    while edge.event("token.issued").get("trace_id") != trace:
        pass


@pytest.fixture(scope="module")
def public_edge(demo_data: Path, start_edge: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An edge on a port, and what the supervisor would write about it."""
    folder = tmp_path_factory.mktemp("public")
    shutil.copytree(demo_data, folder / "data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with start_edge(folder, TILLMESH_LISTEN=f"127.0.0.1:{port}") as edge:
        endpoints = edge.data / "run" / "endpoints.json"
        endpoints.parent.mkdir()
        endpoints.write_text(json.dumps({"http": f"http://127.0.0.1:{port}"}))
        yield edge


def run_token(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [ROOT / "scripts" / "token", *arguments]
    environment = {"TILLMESH_DATA": str(data), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def payload(token: str) -> dict[str, Any]:
    import base64

    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def test_the_token_script_prints_a_token_on_its_last_line(public_edge: Any) -> None:
    location = "loc_01h45ytscbebyvny4gc8cr8ma2"
    ended = run_token(public_edge.data, "associate", "--tenant", "furniture", "--location", location)
    found = payload(ended.stdout.splitlines()[-1])
    assert (found["tid"], found["roles"], found["locs"]) == (
        public_edge.tenant_id("furniture"),
        ["associate"],
        [location],
    )
    by_id = run_token(public_edge.data, "admin", "--tenant", public_edge.tenant_id("furniture"))
    assert payload(by_id.stdout.splitlines()[-1])["tid"] == public_edge.tenant_id("furniture")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pirate"], "no client of the role pirate"),
        (["admin", "--tenant", "toys"], "no demo tenant toys"),
    ],
)
def test_the_token_script_says_what_there_is(public_edge: Any, arguments: list[str], said: str) -> None:
    ended = run_token(public_edge.data, *arguments)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert said in ended.stderr


def test_the_token_script_says_when_the_stack_is_not_running(public_edge: Any, folder: Path) -> None:
    assert "./scripts/server" in run_token(folder / "nothing", "admin").stderr
    assert public_edge.stop() == 0
    assert "doesn't answer" in run_token(public_edge.data, "admin").stderr
