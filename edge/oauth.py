"""The OAuth2 token endpoint: client credentials (RFC 6749 §4.4) for RFC 9068 access tokens.

The protocol is Authlib's generic `AuthorizationServer`, which is synchronous: a request is read in async code and then
answered in a worker thread, where the slow hash of a secret belongs anyway. What stands here is what Authlib leaves to
its user (clients, keys, claims) or answers more loosely than the RFC: a repeated or missing parameter, two ways of
authentication at once, and one 401 for every failed authentication. Grants to come (device, refresh) register here.
"""

from __future__ import annotations

# mypy: disallow-subclassing-any=False
# Authlib ships no types, and those of types-authlib contradict its code (handle_response, create_token_response).
import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl

import anyio.to_thread
import structlog
from authlib.oauth2.base import OAuth2Error, invalid_error_characters
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    ClientMixin,
    OAuth2Payload,
    OAuth2Request,
    errors,
)
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc.jwk import KeySet
from starlette.responses import JSONResponse, Response

from edge import keys, metrics, registry, roles, settings

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.requests import Request

GRANT_TYPES = ("client_credentials",)
AUTH_METHODS = ("client_secret_basic", "client_secret_post")
BODY_BYTES_MAX = 16 * 1024  # A form of this endpoint is a few hundred bytes; 200 location ids still fit.
FIELDS_MAX = 300
REPEATABLE = frozenset({"location"})
SECRET_CHECKS_MAX = 4  # Threads that hash at once: 16 MiB each.
WAITING_MAX = 200  # At 20 checks a second and core, a longer queue answers nobody in time.

log = structlog.get_logger(__name__)


class InvalidClient(errors.InvalidClientError):
    """Authentication failed: unknown client, wrong secret and no credentials answer the same."""

    status_code = 401
    description = "Client authentication failed."

    def get_headers(self) -> list[tuple[str, str]]:
        """RFC 7617 asks for a realm, which Authlib's header doesn't have."""
        return [*OAuth2Error.get_headers(self), ("WWW-Authenticate", 'Basic realm="tillmesh", charset="UTF-8"')]


class Payload(OAuth2Payload):
    """The form of a request; parameters without a value count as absent (RFC 6749 §3.2)."""

    def __init__(self, form: list[tuple[str, str]]) -> None:
        self._pairs = [(name, value) for name, value in form if value]

    @property
    def data(self) -> dict[str, str]:
        """The parameters, each once."""
        return dict(self._pairs)

    @property
    def datalist(self) -> dict[str, list[str]]:
        """The parameters with every value."""
        values: dict[str, list[str]] = {}
        for name, value in self._pairs:
            values.setdefault(name, []).append(value)
        return values

    def repeated(self) -> list[str]:
        """Names of parameters that were sent more often than is allowed."""
        counts = Counter(name for name, _ in self._pairs)
        return sorted(name for name, count in counts.items() if count > 1 and name not in REPEATABLE)

    def locations(self) -> tuple[str, ...]:
        """Locations asked for, from repeated or space separated values, in order, each once."""
        words = [word for value in self.datalist.get("location", []) for word in value.split()]
        return tuple(dict.fromkeys(words))


class TokenRequest(OAuth2Request):
    """A token request as Authlib wants it. The URI is the public one: TLS ends at Envoy."""

    def __init__(self, uri: str, headers: Headers, payload: Payload) -> None:
        super().__init__("POST", uri, headers=headers)
        self.payload: Payload = payload

    @property
    def form(self) -> dict[str, str]:
        """The body's parameters; credentials in the query are never looked at."""
        return self.payload.data


class Client(ClientMixin):
    """A registered client, seen by Authlib; ``record`` None stands for a client that doesn't exist."""

    def __init__(self, client_id: str, clients: registry.ClientRegistry) -> None:
        self.client_id = client_id
        self.record: registry.ClientRecord | None = None
        self._clients = clients

    def get_client_id(self) -> str:
        """The id that was sent."""
        return self.client_id

    def check_client_secret(self, client_secret: str) -> bool:
        """Whether the secret is the client's; only then is its record known."""
        self.record = self._clients.verify(self.client_id, client_secret)
        return self.record is not None

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Every client may use both ways of sending a secret."""
        return method in AUTH_METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        """Every client has client credentials."""
        return grant_type in GRANT_TYPES

    def get_allowed_scope(self, _scope: str | None) -> str:
        """The scopes asked for (all of the client's when none were), in the contract's order."""
        return " ".join(self.verified().scopes)

    def verified(self) -> registry.ClientRecord:
        """The record of an authenticated client."""
        if self.record is None:
            raise InvalidClient
        return self.record

    def narrow(self, scope: str | None, locations: tuple[str, ...]) -> None:
        """Keep only what was asked for. Raises InvalidScopeError when the client doesn't have it."""
        record = self.verified()
        wanted = tuple(dict.fromkeys((scope or "").split())) or record.scopes
        if not set(wanted) <= set(record.scopes):
            raise errors.InvalidScopeError("The client may not have one of these scopes.")
        if not all(record.allows_location(location) for location in locations):
            raise errors.InvalidScopeError("The client may not have one of these locations.")
        if not all(registry.is_id(location, "loc") for location in locations if location != registry.ALL_LOCATIONS):
            raise errors.InvalidRequestError("A location is an id that begins with loc_.")
        self.record = dataclasses.replace(
            record,
            scopes=roles.ordered(wanted),
            locations=locations or record.locations,
        )


class ClientCredentials(ClientCredentialsGrant):
    """Client credentials with this deployment's narrowing by scope and location."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = list(AUTH_METHODS)

    def validate_token_request(self) -> None:
        """Authenticate, then hold the request against what the client may have."""
        super().validate_token_request()
        client, payload = self.request.client, self.request.payload
        if payload.client_id not in (None, client.client_id):
            raise errors.InvalidRequestError("The client_id differs from the one that authenticated.")
        client.narrow(payload.scope, payload.locations())


class AccessTokens(JWTBearerTokenGenerator):
    """RFC 9068 tokens, ES256, signed by the key that is current."""

    def __init__(self, issuer: str, audience: str, key_store: keys.KeyStore) -> None:
        super().__init__(issuer, alg="ES256", expires_generator=keys.TOKEN_SECONDS)
        self._audience = audience
        self._keys = key_store

    def get_jwks(self) -> KeySet:
        """A set of one, so that the header names the key."""
        signing = self._keys.signing_key()
        signing.key.ensure_kid()
        return KeySet([signing.key])

    def get_audiences(self, _client: Client, _user: object, _scope: str) -> str:
        """Every API of the deployment."""
        return self._audience

    def get_extra_claims(self, client: Client, _grant_type: str, _user: object, _scope: str) -> dict[str, Any]:
        """Tenant, roles and locations; till and customer when the client stands for one."""
        record = client.verified()
        claims: dict[str, Any] = {"tid": record.tenant_id, "roles": [*record.roles], "locs": [*record.locations]}
        optional = {"trm": record.terminal_id, "cus": record.customer_id}
        return claims | {name: value for name, value in optional.items() if value}


class TokenServer(AuthorizationServer):
    """Authlib's server with Starlette's responses. Everything here runs in a worker thread."""

    def __init__(self, issuer: str, audience: str, clients: registry.ClientRegistry, key_store: keys.KeyStore) -> None:
        super().__init__(scopes_supported=list(roles.SCOPES))
        self._token_uri = issuer + settings.OAUTH_PATH
        self._clients = clients
        self.register_token_generator("default", AccessTokens(issuer, audience, key_store))
        self.register_grant(ClientCredentials)

    def query_client(self, client_id: str) -> Client:
        """Never None: whether a client exists must not show before its secret is checked."""
        return Client(client_id, self._clients)

    def authenticate_client(self, request: TokenRequest, methods: list[str], endpoint: str = "token") -> Client:
        """The authenticated client. Raises InvalidClient, also for a header that isn't even text."""
        try:
            client: Client = super().authenticate_client(request, methods, endpoint)
        except (errors.InvalidClientError, UnicodeError):
            raise InvalidClient from None
        return client

    def create_oauth2_request(self, request: TokenRequest) -> TokenRequest:
        """Requests arrive ready made."""
        return request

    def save_token(self, _token: dict[str, Any], request: TokenRequest) -> None:
        """Access tokens aren't stored; what was issued is logged."""
        record = request.client.verified()
        log.info("token.issued", client=record.client_id, tenant=record.tenant_id, roles=record.roles)

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""

    def handle_response(self, status: int, body: dict[str, Any], headers: list[tuple[str, str]]) -> Response:
        """JSON that is never cached. What a client sent may stand in a description: only the characters allowed."""
        text = body.get("error_description", "")
        clean = "".join("?" if invalid_error_characters(character) else character for character in text)
        content = {**body, "error_description": clean} if text else body
        return JSONResponse(content, status_code=status, headers=dict(headers))

    def respond(self, headers: Headers, payload: Payload) -> Response:
        """Answer a token request."""
        request = TokenRequest(self._token_uri, headers, payload)
        problem = _problem(headers, payload)
        if problem is not None:
            return self.refuse(problem)
        response: Response = self.create_token_response(request)
        return response

    def refuse(self, error: OAuth2Error) -> Response:
        """The response of an error."""
        response: Response = self.handle_error_response(None, error)
        return response


def _problem(headers: Headers, payload: Payload) -> OAuth2Error | None:
    """What makes a request malformed before anyone is authenticated (RFC 6749 §5.2, invalid_request)."""
    if payload.repeated():
        return errors.InvalidRequestError("A parameter is repeated.")
    if not payload.grant_type:
        return errors.InvalidRequestError("The parameter grant_type is missing.")
    if "authorization" in headers and "client_secret" in payload.data:
        return errors.InvalidRequestError("The client authenticates in two ways at once.")
    return None


def parse_form(content_type: str, body: bytes) -> Payload:
    """The form in a body. Raises InvalidRequestError when it isn't one."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise errors.InvalidRequestError("The body must be application/x-www-form-urlencoded.")
    try:
        text = body.decode("ascii")
        return Payload(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX))
    except ValueError:
        raise errors.InvalidRequestError("The body is not a form.") from None


async def _bounded_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise errors.InvalidRequestError("The body is too large.", status_code=413)
    return body


class TokenEndpoint:
    """POST /oauth2/token."""

    def __init__(self, server: TokenServer) -> None:
        self._server = server
        self._limiter = anyio.CapacityLimiter(SECRET_CHECKS_MAX)

    async def serve(self, request: Request) -> Response:
        """Read the form, answer it in a thread, count the outcome."""
        response = await self._answer(request)
        metrics.TOKENS.labels(outcome="issued" if response.status_code == 200 else "refused").inc()
        return response

    async def _answer(self, request: Request) -> Response:
        if self._limiter.statistics().tasks_waiting >= WAITING_MAX:
            busy = OAuth2Error("Too many requests wait already.", error="temporarily_unavailable", status_code=503)
            return self._server.refuse(busy)
        try:
            payload = parse_form(request.headers.get("content-type", ""), await _bounded_body(request))
        except OAuth2Error as error:
            return self._server.refuse(error)
        return await anyio.to_thread.run_sync(self._server.respond, request.headers, payload, limiter=self._limiter)


def discovery(issuer: str) -> dict[str, Any]:
    """Metadata of the authorization server (RFC 8414).

    There is no authorization endpoint, so no response type either; the list is required and may not be empty, and
    "none" is the registered name for nothing.
    """
    return {
        "issuer": issuer,
        "token_endpoint": issuer + settings.OAUTH_PATH,
        "jwks_uri": issuer + "/.well-known/jwks.json",
        "response_types_supported": ["none"],
        "grant_types_supported": [*GRANT_TYPES],
        "token_endpoint_auth_methods_supported": [*AUTH_METHODS],
        "scopes_supported": [*roles.SCOPES],
        "service_documentation": issuer + "/docs",
    }
