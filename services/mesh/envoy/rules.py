"""Who may pass, and how often: the rules of jwt_authn, of the address lists and of the rate limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from services.mesh.envoy import contract, settings

RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
TOKEN_PAYLOAD = {"key": "envoy.filters.http.jwt_authn"}
# Paths of the edge process. Those ending in / are prefixes.
EDGE_PATHS = ("/healthz", "/oauth2/", "/.well-known/", "/openapi.json", "/docs", "/docs/", "/")

_TOKEN = {"provider_name": "edge"}
# A public rpc needs no token, but one that is sent must verify: it decides what the caller sees and whose limits count.
_TOKEN_IF_SENT = {"requires_any": {"requirements": [_TOKEN, {"allow_missing": {}}]}}


def edge_match(path: str) -> dict[str, Any]:
    """The path match of one of EDGE_PATHS."""
    return {"prefix": path} if path.endswith("/") and path != "/" else {"path": path}


def token_rules(rpcs: Sequence[contract.Rpc]) -> list[dict[str, Any]]:
    """The rules of jwt_authn, which sees paths before the transcoder does: edge and public rpcs first, then everything.

    A public REST path may also match a template of an rpc that isn't public (`/products/{id}` and `/products/search`);
    such a call passes here without a token, and the service refuses it.
    """
    public = [rpc for rpc in rpcs if rpc.public]
    rest = [{"match": rest_match(binding), "requires": _TOKEN_IF_SENT} for rpc in public for binding in rpc.bindings]
    native = [{"match": {"path": rpc.path}, "requires": _TOKEN_IF_SENT} for rpc in public]
    edge = [{"match": edge_match(path)} for path in EDGE_PATHS]
    return [*edge, *rest, *native, {"match": {"prefix": "/"}, "requires": _TOKEN}]


def rest_match(binding: contract.Binding) -> dict[str, Any]:
    """Matches the requests of one REST form."""
    return {"safe_regex": {"regex": binding.regex}, "headers": [exact_header(":method", binding.method)]}


def exact_header(name: str, value: str) -> dict[str, Any]:
    """Matches one value of a header."""
    return {"name": name, "string_match": {"exact": value}}


def address_rules(door: settings.DoorSettings) -> dict[str, Any] | None:
    """The filter of the address lists, or None when there are none."""
    policies: dict[str, Any] = {}
    if door.ip_deny:
        policies["denied"] = _policy(_addresses(door.ip_deny))
    if door.ip_allow:
        policies["not_allowed"] = _policy([{"not_id": {"or_ids": {"ids": _addresses(door.ip_allow)}}}])
    if not policies:
        return None
    config = {"@type": RBAC, "rules": {"action": "DENY", "policies": policies}}
    return {"name": "envoy.filters.http.rbac", "typed_config": config}


def _policy(principals: list[dict[str, Any]]) -> dict[str, Any]:
    return {"permissions": [{"any": True}], "principals": principals}


def _addresses(networks: Iterable[settings.Address]) -> list[dict[str, Any]]:
    return [
        {"remote_ip": {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}}
        for network in networks
    ]


def rate_limits(door: settings.DoorSettings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is counted for a request, and the bucket of each: by client, tenant and address."""
    address: dict[str, Any] = {"remote_address": {}}
    anonymous = _header_action("anonymous", {"name": "authorization", "present_match": True, "invert_match": True})
    credentials = _header_action("credentials", {"name": ":path", "string_match": {"prefix": "/oauth2/"}})
    counted = [
        (door.rate_limit_per_client, [_claim("tenant", "tid"), _claim("client", "sub")], _keys("tenant", "client")),
        (door.rate_limit_per_tenant, [_claim("tenant", "tid")], _keys("tenant")),
        (door.rate_limit_tokens_per_address, [credentials, address], [_named("credentials"), *_keys("remote_address")]),
        (door.rate_limit_per_address, [anonymous, address], [_named("anonymous"), *_keys("remote_address")]),
    ]
    active = [row for row in counted if row[0] > 0]
    limits = [{"actions": actions} for _, actions, _ in active]
    buckets = [{"entries": entries, "token_bucket": _bucket(rate)} for rate, _, entries in active]
    return limits, buckets


def _claim(key: str, claim: str) -> dict[str, Any]:
    path = [{"key": "jwt_payload"}, {"key": claim}]
    metadata = {"descriptor_key": key, "source": "DYNAMIC", "metadata_key": {**TOKEN_PAYLOAD, "path": path}}
    return {"metadata": metadata}


def _header_action(name: str, header: dict[str, Any]) -> dict[str, Any]:
    return {"header_value_match": {"descriptor_key": name, "descriptor_value": "yes", "headers": [header]}}


def _keys(*names: str) -> list[dict[str, Any]]:
    """Entries without a value: a bucket for each value that is seen."""
    return [{"key": name} for name in names]


def _named(name: str) -> dict[str, Any]:
    return {"key": name, "value": "yes"}


def _bucket(rate: int) -> dict[str, Any]:
    return {"max_tokens": rate, "tokens_per_fill": rate, "fill_interval": "1s"}
