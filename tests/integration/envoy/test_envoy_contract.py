"""The configuration that comes of a contract: its paths, its settings, and that Envoy takes the real one."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pydantic
import pytest
from google.protobuf import descriptor_pb2

from services.mesh import envoy
from services.mesh.envoy import contract as contracts
from services.mesh.envoy import settings, template
from tests.integration.envoy import contract, door
from tests.integration.envoy.conftest import Behind

REAL = contract.REPOSITORY / "generated/descriptors/tillmesh.binpb"


def _wiring(behind: Behind, descriptor: Path) -> envoy.Wiring:
    return envoy.Wiring(
        http_port=0,
        https_port=0,
        admin_socket=behind.folder / "validate.sock",
        sockets={**behind.sockets, "reviews": [], "marketing": []},
        issuer=door.ISSUER,
        tls_certificate=behind.folder / "tls.crt",
        tls_key=behind.folder / "tls.key",
        descriptor=descriptor,
        otlp_endpoint="http://127.0.0.1:4317",
    )


@pytest.mark.parametrize("changed", [{}, {"cors_origins": "*", "ip_allow": "10.0.0.0/8", "rate_limit_per_client": 0}])
def test_envoy_takes_the_real_contract_without_a_warning(behind: Behind, changed: dict[str, str]) -> None:
    rendered = envoy.render(_wiring(behind, REAL), settings.DoorSettings.model_validate(changed))
    config = behind.folder / "validate.json"
    config.write_text(json.dumps(rendered))
    command = [str(door.BINARY), "--mode", "validate", "-l", "warn", "-c", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, "warning" in result.stderr) == (0, False), result.stderr


def test_every_rpc_of_the_real_contract_has_a_route(behind: Behind) -> None:
    rendered = json.dumps(envoy.render(_wiring(behind, REAL), settings.DoorSettings()))
    rpcs = contracts.load(REAL, ["inventory", "orders", "reviews", "marketing"])
    assert [rpc.path for rpc in rpcs if f'"{rpc.path}"' not in rendered] == []
    assert [rpc.path for rpc in rpcs if rpc.is_watch]


@pytest.mark.parametrize(
    ("template_text", "matches", "misses"),
    [
        ("/v1/orders", ["/v1/orders", "/v1/orders/"], ["/v1/orders/1", "/v1/ordersx", "/v2/orders"]),
        ("/v1/a/{id}/b", ["/v1/a/x/b", "/v1/a/x.y/b/"], ["/v1/a//b", "/v1/a/x/y/b", "/v1/a/x/c"]),
        ("/v1/a/{item.id}", ["/v1/a/x"], ["/v1/a/", "/v1/a/x/y"]),
        ("/v1/f/{path=**}", ["/v1/f/x", "/v1/f/x/y/z"], ["/v1/fx"]),
        ("/v1/{name=shelves/*/books/*}", ["/v1/shelves/1/books/2"], ["/v1/shelves/1/books", "/v1/x/1/books/2"]),
        ("/v1/a/{id}:verb", ["/v1/a/x:verb"], ["/v1/a/x", "/v1/a/x:other"]),
        ("/v1/a.b/*", ["/v1/a.b/x"], ["/v1/aXb/x"]),
    ],
)
def test_a_path_template_matches_what_the_transcoder_matches(
    template_text: str, matches: list[str], misses: list[str]
) -> None:
    regex = re.compile(contracts.path_regex(template_text))
    assert [path for path in matches if not regex.fullmatch(path)] == []
    assert [path for path in misses if regex.fullmatch(path)] == []


def test_a_contract_with_a_path_outside_v1_is_refused(behind: Behind, tmp_path: Path) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString((behind.folder / "api.binpb").read_bytes())
    changed = files.SerializeToString().replace(b"/v1/banners", b"/xx/banners")
    (tmp_path / "bad.binpb").write_bytes(changed)
    with pytest.raises(contracts.ContractError, match="GetBanner: REST path /xx/banners"):
        contracts.load(tmp_path / "bad.binpb", ["inventory"])


def test_a_contract_without_error_details_is_refused(behind: Behind, tmp_path: Path) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString((behind.folder / "api.binpb").read_bytes())
    kept = [file for file in files.file if file.name != "google/rpc/error_details.proto"]
    (tmp_path / "bare.binpb").write_bytes(descriptor_pb2.FileDescriptorSet(file=kept).SerializeToString())
    with pytest.raises(contracts.ContractError, match="error_details"):
        contracts.load(tmp_path / "bare.binpb", ["inventory"])


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLMESH_CORS_ORIGINS", "https://a.test, https://b.test")
    monkeypatch.setenv("TILLMESH_IP_DENY", "192.0.2.1,2001:db8::/32")
    monkeypatch.setenv("TILLMESH_RATE_LIMIT_PER_CLIENT", "7")
    read = settings.DoorSettings()
    assert read.cors_origins == ("https://a.test", "https://b.test")
    assert [str(network) for network in read.ip_deny] == ["192.0.2.1/32", "2001:db8::/32"]
    assert read.rate_limit_per_client == 7
    monkeypatch.setenv("TILLMESH_IP_ALLOW", "not an address")
    with pytest.raises(pydantic.ValidationError, match="ip_allow"):
        settings.DoorSettings()


def test_placeholders_are_filled_by_value_text_splice_or_absence() -> None:
    values = {"whole": {"a": 1}, "name": "x", "none": None, "several": [1, 2]}
    node = {"v": "${whole}", "t": "a-${name}-b", "gone": "${none}", "list": ["${several}", "${none}", 3, "${name}"]}
    assert template.fill(node, values) == {"v": {"a": 1}, "t": "a-x-b", "list": [1, 2, 3, "x"]}
    with pytest.raises(KeyError):
        template.fill("${unknown}", values)
