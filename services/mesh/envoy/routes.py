"""The route table: which upstream a call goes to, with which deadline, retries and age.

A REST call is routed twice. First by its REST path, which only chooses the filters' options (events or lines, is the
token in the query). Then, once the transcoder has made it `/package.Service/Method`, by its rpc, like a native call: so
there is one policy an rpc, whatever the door.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.mesh.envoy import contract, rules, settings

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
TOKENS = "envoy.filters.http.jwt_authn"
TYPES = "type.googleapis.com/envoy.extensions.filters.http"
LUA = "envoy.filters.http.lua"
PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
PREVIOUS_HOSTS_TYPE = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
LOCATION_HEADER = "x-tillmesh-location"
# A service that runs out of time says so itself, and says more than Envoy would: Envoy waits this much longer.
MARGIN_SECONDS = 1
# A larger body is sent once and not kept for a second try.
RETRY_BODY_BYTES_MAX = 1024 * 1024
EDGE_TIMEOUT_SECONDS = 15
# Failures that happened before a service could have seen the request.
RETRY_UNSEEN = "connect-failure,refused-stream,reset-before-request"

_POST = rules.exact_header(":method", "POST")
_NOT_GRPC = {
    "name": "content-type",
    "string_match": {"prefix": "application/grpc"},
    "invert_match": True,
    "treat_missing_header_as_empty": True,
}
_WANTS_EVENTS = {"name": "accept", "string_match": {"contains": "text/event-stream"}}
# Without services the transcoder lets a path pass that is not an rpc's; elsewhere it answers 404.
_NO_TRANSCODER = {"@type": f"{TYPES}.grpc_json_transcoder.v3.GrpcJsonTranscoder", "proto_descriptor_bin": ""}
_PREFLIGHT = [
    rules.exact_header(":method", "OPTIONS"),
    {"name": "origin", "present_match": True},
    {"name": "access-control-request-method", "present_match": True},
]


def route_config(
    rpcs: Sequence[contract.Rpc],
    *,
    door: settings.DoorSettings,
    processes: Mapping[str, int],
    events_transcoder: dict[str, Any],
) -> dict[str, Any]:
    """The whole table. `processes` counts each service's; `events_transcoder` is the transcoder that writes events."""
    anywhere = next(iter(processes))  # a route must name an upstream; the second routing chooses the real one
    routes = [
        *(_edge(path) for path in rules.EDGE_PATHS),
        {"match": {"prefix": "/", "headers": _PREFLIGHT}, "route": {"cluster": anywhere}},
        *_streams(rpcs, anywhere, events_transcoder),
        {"match": {"prefix": contract.REST_PREFIX, "headers": [_NOT_GRPC]}, "route": {"cluster": anywhere}},
        *(_rpc(rpc, door, processes) for rpc in rpcs),
        _nowhere(),
    ]
    host: dict[str, Any] = {
        "name": "doors",
        "domains": ["*"],
        "routes": routes,
        "request_body_buffer_limit": RETRY_BODY_BYTES_MAX,
    }
    if door.cors_origins:
        host["typed_per_filter_config"] = {"envoy.filters.http.cors": _cors(door.cors_origins)}
    return {"name": "doors", "virtual_hosts": [host]}


def _edge(path: str) -> dict[str, Any]:
    retry = {"retry_on": RETRY_UNSEEN, "num_retries": 2}
    route = {"cluster": "edge", "timeout": f"{EDGE_TIMEOUT_SECONDS}s", "retry_policy": retry}
    return {
        "match": rules.edge_match(path),
        "route": route,
        "typed_per_filter_config": {TRANSCODER: _NO_TRANSCODER},
    }


def _streams(rpcs: Sequence[contract.Rpc], cluster: str, events: dict[str, Any]) -> list[dict[str, Any]]:
    """REST paths of server streams: events for those who accept them, else one JSON a line."""
    groups = [
        ([b for rpc in rpcs if rpc.is_watch for b in rpc.bindings], {"streams": True, "watch": True}),
        ([b for rpc in rpcs if rpc.server_streaming and not rpc.is_watch for b in rpc.bindings], {"streams": True}),
    ]
    to = {"cluster": cluster}
    routes = []
    for bindings, marks in groups:
        for binding in bindings:
            match = rules.rest_match(binding)
            match["headers"].append(_NOT_GRPC)
            as_events = {"typed_per_filter_config": {TRANSCODER: events}, "metadata": _told({**marks, "events": True})}
            routes.append({"match": {**match, "headers": [*match["headers"], _WANTS_EVENTS]}, "route": to, **as_events})
            routes.append({"match": match, "route": to, "metadata": _told(marks)})
    return routes


def _told(marks: Mapping[str, bool]) -> dict[str, Any]:
    """What the Lua filters are told about a route."""
    return {"filter_metadata": {LUA: marks}}


def _rpc(rpc: contract.Rpc, door: settings.DoorSettings, processes: Mapping[str, int]) -> dict[str, Any]:
    owner = rpc.service.split(".")[1]
    route: dict[str, Any] = {"cluster": owner, "retry_policy": _retries(rpc)}
    if processes[owner] > 1:
        route["hash_policy"] = [{"header": {"header_name": LOCATION_HEADER}}]
    entry: dict[str, Any] = {"name": rpc.path, "match": {"path": rpc.path, "headers": [_POST]}, "route": route}
    if rpc.streams:
        lifetime = {"max_stream_duration": f"{door.stream_lifetime_seconds}s"}
        route |= {"timeout": "0s", "idle_timeout": f"{door.stream_idle_seconds}s", "max_stream_duration": lifetime}
        return entry
    seconds = door.read_timeout_seconds if rpc.is_read else door.write_timeout_seconds
    route["timeout"] = f"{seconds + MARGIN_SECONDS}s"
    deadline = {"header": {"key": "grpc-timeout", "value": f"{seconds}S"}, "append_action": "ADD_IF_ABSENT"}
    entry["request_headers_to_add"] = [deadline]
    return entry


def _retries(rpc: contract.Rpc) -> dict[str, Any]:
    """Another process is tried when nothing can have happened yet; reads are also tried again after UNAVAILABLE."""
    return {
        "retry_on": f"{RETRY_UNSEEN},unavailable" if rpc.is_read else RETRY_UNSEEN,
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [{"name": PREVIOUS_HOSTS, "typed_config": {"@type": PREVIOUS_HOSTS_TYPE}}],
        "host_selection_retry_max_attempts": 3,
    }


def _nowhere() -> dict[str, Any]:
    """Everything else is 404 at once: no token is looked for, and nothing can be transcoded from here."""
    off = {TOKENS: {"@type": f"{TYPES}.jwt_authn.v3.PerRouteConfig", "disabled": True}, TRANSCODER: _NO_TRANSCODER}
    return {"match": {"prefix": "/"}, "direct_response": {"status": 404}, "typed_per_filter_config": off}


def _cors(origins: Sequence[str]) -> dict[str, Any]:
    any_origin = "*" in origins
    matches = [{"safe_regex": {"regex": ".*"}}] if any_origin else [{"exact": origin} for origin in origins]
    return {
        "@type": f"{TYPES}.cors.v3.CorsPolicy",
        "allow_origin_string_match": matches,
        "allow_methods": "GET,POST,PUT,PATCH,DELETE,OPTIONS",
        "allow_headers": "authorization,content-type,accept,idempotency-key,if-match,if-none-match,last-event-id,"
        "traceparent,x-grpc-web,x-user-agent,grpc-timeout",
        "expose_headers": "etag,location,retry-after,x-request-id,x-ratelimit-limit,x-ratelimit-remaining,"
        "x-ratelimit-reset,grpc-status,grpc-message,grpc-status-details-bin",
        "max_age": "600",
        "allow_credentials": not any_origin,
    }
