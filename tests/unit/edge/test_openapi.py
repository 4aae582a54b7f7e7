"""The OpenAPI document says what Envoy does with a contract: shown on a small contract, then on the real one."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from google.protobuf import descriptor_pb2

from edge import openapi

ROOT = Path(__file__).resolve().parents[3]
CONTRACT = ROOT / "generated" / "descriptors" / "tillmesh.binpb"
HERE = Path(__file__).parent


def compile_proto(folder: Path, name: str, target: Path) -> bytes:
    """The descriptor set of a proto; what it imports of ours and of buf comes from the committed set."""
    google = sysconfig.get_paths()["purelib"]
    options = [
        f"--descriptor_set_in={CONTRACT}",
        f"-I{folder}",
        f"-I{google}",
        "--include_imports",
        "--include_source_info",
    ]
    command = [sys.executable, "-m", "grpc_tools.protoc", *options, f"--descriptor_set_out={target}", name]
    subprocess.run(command, check=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_proto(HERE, "sample.proto", tmp_path_factory.mktemp("sample") / "sample.binpb")


@pytest.fixture(scope="module")
def document(sample: bytes) -> dict[str, Any]:
    return openapi.build(sample)


@pytest.fixture(scope="module")
def thing(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["components"]["schemas"]["sample.v1.Thing"])


def operation(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The operation with this id suffix."""
    found = [each for item in document["paths"].values() for each in item.values() if each["operationId"] == name]
    assert len(found) == 1
    return dict(found[0])


def parameters(document: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    return {each["name"]: each for each in operation(document, name)["parameters"] if each["in"] == where}


def body(document: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(operation(document, name)["requestBody"]["content"]["application/json"]["schema"])


def test_every_annotated_rpc_has_its_paths_and_no_other_rpc_has(document: dict[str, Any]) -> None:
    ours = {(verb, path) for path, item in document["paths"].items() if path.startswith("/v1/") for verb in item}
    assert ours == {
        ("post", "/v1/places/{place_id}/things/{thing_id}:reserve"),
        ("post", "/v1/places/{place_id}/things/{thing_id}/reserve"),
        ("post", "/v1/things"),
        ("get", "/v1/things"),
        ("get", "/v1/things/{id}"),
        ("patch", "/v1/things/{id}"),
        ("delete", "/v1/things/{id}"),
        ("get", "/v1/things/watch"),
        ("get", "/v1/files/{path}"),
        ("put", "/v1/things/{id}/picture"),
    }


def test_another_binding_is_another_operation(document: dict[str, Any]) -> None:
    first, second = (operation(document, f"ThingsService_ReserveThing{suffix}") for suffix in ("", "_2"))
    assert first["x-tillmesh-rpc"] == second["x-tillmesh-rpc"] == "sample.v1.ThingsService.ReserveThing"


def test_what_the_path_binds_is_not_in_the_body(document: dict[str, Any]) -> None:
    assert list(body(document, "ThingsService_ReserveThing")["properties"]) == ["quantity", "request_id"]
    assert parameters(document, "ThingsService_ReserveThing", "path")["place_id"]["schema"]["minLength"] == 1
    assert parameters(document, "ThingsService_ReserveThing", "query") == {}


def test_a_masked_edit_requires_nothing_of_the_resource(document: dict[str, Any]) -> None:
    assert body(document, "ThingsService_UpdateThing")["$ref"].endswith("/sample.v1.Thing.Partial")
    assert "required" not in document["components"]["schemas"]["sample.v1.Thing.Partial"]
    assert parameters(document, "ThingsService_UpdateThing", "query")["update_mask"]["required"]


def test_the_query_carries_nested_fields_by_dotted_name_and_no_maps(document: dict[str, Any]) -> None:
    query = parameters(document, "ThingsService_ListThings", "query")
    assert {"page_size", "filter.condition", "filter.after", "filter.nested.condition", "ids"} <= set(query)
    assert not {name for name in query if name.startswith(("labels", "parts"))}
    assert query["ids"] | {"description": ""} == {
        "name": "ids",
        "in": "query",
        "description": "",
        "style": "form",
        "explode": True,
        "schema": {"type": "array", "items": {"type": "string"}, "maxItems": 10},
    }


def test_types_are_those_of_proto_json(thing: dict[str, Any]) -> None:
    fields = thing["properties"]
    assert (fields["big"]["type"], fields["big"]["format"]) == ("string", "int64")
    assert (fields["serial"]["type"], fields["serial"]["format"]) == ("string", "uint64")
    assert (fields["small"]["type"], fields["weight"]["type"]) == ("integer", "number")
    assert fields["data"]["format"] == "byte"
    assert fields["at"] == {"type": "string", "format": "date-time"}
    assert fields["ttl"]["type"] == "string"
    assert fields["nickname"] == {"type": ["string", "null"]}
    assert fields["anything"] == {"type": "object", "additionalProperties": True}
    assert fields["parts"]["additionalProperties"] == {"$ref": "#/components/schemas/sample.v1.Thing.Part"}
    assert fields["inner"] == {"$ref": "#/components/schemas/sample.v1.Thing"}


def test_enums_are_names_with_their_meaning(document: dict[str, Any], thing: dict[str, Any]) -> None:
    condition = document["components"]["schemas"]["sample.v1.Condition"]
    assert condition["enum"] == ["CONDITION_UNSPECIFIED", "CONDITION_GOOD", "CONDITION_BROKEN"]
    assert "- `CONDITION_GOOD`: As new." in condition["description"]
    assert thing["properties"]["condition"]["not"] == {"enum": ["CONDITION_UNSPECIFIED"]}


def test_rules_of_the_contract_are_in_the_schema(thing: dict[str, Any]) -> None:
    fields = thing["properties"]
    assert fields["code"]["pattern"] == "^[a-z]{1,8}$"
    assert "At least 1 and at most 1000." in fields["big"]["description"]
    assert (fields["small"]["minimum"], fields["small"]["exclusiveMaximum"]) == (0, 100)
    assert fields["tags"] | {"items": fields["tags"]["items"]} == {
        "type": "array",
        "maxItems": 3,
        "uniqueItems": True,
        "items": {"type": "string", "minLength": 1},
    }
    assert "At least 1s." in fields["ttl"]["description"]
    assert fields["mail"]["format"] == "email"
    assert "A broken thing has no price." in thing["description"]


def test_a_field_is_required_when_leaving_it_out_breaks_a_rule(document: dict[str, Any], thing: dict[str, Any]) -> None:
    # small may be 0, rank is optional, an empty mail is ignored.
    assert thing["required"] == ["code", "big", "condition"]
    assert document["components"]["schemas"]["sample.v1.Thing.Part"]["required"] == ["name"]
    assert thing["allOf"] == [{"oneOf": [{"required": ["fixed"]}, {"required": ["formula"]}]}]


def test_what_the_server_sets_is_read_only_and_what_is_old_is_deprecated(
    document: dict[str, Any], thing: dict[str, Any]
) -> None:
    assert thing["properties"]["id"]["readOnly"]
    assert thing["properties"]["old_name"]["deprecated"]
    assert operation(document, "ThingsService_DeleteThing")["deprecated"]


def test_a_schema_means_what_its_rules_say(document: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/sample.v1.Thing", "components": document["components"]}
    is_valid = jsonschema_rs.Draft202012Validator(schema).is_valid
    good = {"code": "ab", "big": "5", "condition": "CONDITION_GOOD", "fixed": "1", "tags": ["a"]}
    assert is_valid(good)
    for broken in (
        {"code": "AB"},
        {"big": 5},
        {"condition": "CONDITION_UNSPECIFIED"},
        {"tags": ["a", "a"]},
        {"formula": "x"},
    ):
        assert not is_valid(good | broken)


def test_comments_become_texts(document: dict[str, Any]) -> None:
    reserve = operation(document, "ThingsService_ReserveThing")
    assert reserve["summary"] == "Holds a thing, or nothing"
    assert "Repeating the key returns the first hold.\n\nA second paragraph." in reserve["description"]
    assert {"name": "Things", "description": "Things of a place."} in document["tags"]


def test_access_is_told_to_people_and_to_machines(document: dict[str, Any]) -> None:
    reserve = operation(document, "ThingsService_ReserveThing")
    assert reserve["x-tillmesh-access"] == {
        "roles": ["associate", "admin"],
        "scopes": ["inventory:reserve"],
        "location_fields": ["place_id"],
    }
    assert "Access: one of the roles `associate`, `admin`; the scopes `inventory:reserve`." in reserve["description"]
    assert reserve["security"] == [{"oauth2": ["inventory:reserve"]}, {"bearer": []}]
    assert operation(document, "ThingsService_GetThing")["security"] == []
    assert "401" not in operation(document, "ThingsService_GetThing")["responses"]


def test_a_stream_is_json_lines_or_events_and_takes_a_token_in_the_query(document: dict[str, Any]) -> None:
    watch = operation(document, "ThingsService_WatchThings")
    assert set(watch["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert {"accessToken": []} in watch["security"]
    assert "Last-Event-ID" in parameters(document, "ThingsService_WatchThings", "header")
    assert all(
        {"accessToken": []} not in each.get("security", [])
        for item in document["paths"].values()
        for each in item.values()
        if not each.get("x-tillmesh-stream")
    )


def test_writes_take_the_headers_of_their_fields(document: dict[str, Any]) -> None:
    assert set(parameters(document, "ThingsService_ReserveThing", "header")) == {"Idempotency-Key"}
    assert set(parameters(document, "ThingsService_UpdateThing", "header")) == {"If-Match"}
    assert {"409", "422"} <= set(operation(document, "ThingsService_ReserveThing")["responses"])
    assert "412" in operation(document, "ThingsService_UpdateThing")["responses"]
    assert "409" not in operation(document, "ThingsService_GetThing")["responses"]


def test_the_status_of_a_success_is_the_options_or_follows_the_name(document: dict[str, Any]) -> None:
    def status(name: str) -> str:
        return next(iter(operation(document, f"ThingsService_{name}")["responses"]))

    names = ("MakeThing", "ReserveThing", "GetThing", "UpdateThing")
    assert [status(name) for name in names] == ["202", "201", "200", "200"]


def test_raw_content_and_nothing_have_their_own_shapes(document: dict[str, Any]) -> None:
    binary = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    assert operation(document, "ThingsService_GetFile")["responses"]["200"]["content"] == binary
    assert operation(document, "ThingsService_StorePicture")["requestBody"]["content"] == binary
    assert "slashes" in parameters(document, "ThingsService_GetFile", "path")["path"]["description"]
    nothing = operation(document, "ThingsService_DeleteThing")["responses"]["200"]["content"]["application/json"]
    assert nothing["schema"] == {"type": "object", "additionalProperties": False}


def test_the_same_contract_gives_the_same_bytes(sample: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.binpb").write_bytes(sample)
    for name in ("one.json", "two.json"):
        command = [sys.executable, ROOT / "scripts" / "openapi.py", tmp_path / "in.binpb", tmp_path / name]
        subprocess.run(command, check=True, cwd=tmp_path)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert json.loads((tmp_path / "one.json").read_text()) == openapi.build(sample)


def test_two_rpcs_on_one_path_are_refused(tmp_path: Path) -> None:
    text = (HERE / "sample.proto").read_text().replace('delete: "/v1/things/{id}"', 'get: "/v1/things/{id}"')
    (tmp_path / "clash.proto").write_text(text)
    with pytest.raises(ValueError, match=r"get /v1/things/\{id\} is taken"):
        openapi.build(compile_proto(tmp_path, "clash.proto", tmp_path / "clash.binpb"))


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    """The committed document; scripts/check compares it with the protos."""
    return dict(json.loads((ROOT / "generated" / "openapi.json").read_text()))


@pytest.mark.parametrize("which", ["document", "contract"])
def test_the_document_is_openapi_3_1(which: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(which)
    loaded = schemathesis.openapi.from_dict(found)
    loaded.validate()
    assert len([each.ok() for each in loaded.get_all_operations()]) == sum(
        len(item) for item in found["paths"].values()
    )
    for schema in found["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_reference_of_the_contract_leads_somewhere(contract: dict[str, Any]) -> None:
    text = json.dumps(contract)
    for kind in ("schemas", "responses"):
        prefix = f'"#/components/{kind}/'
        used = {part.partition('"')[0] for part in text.split(prefix)[1:]}
        assert used <= set(contract["components"][kind])


def test_every_rpc_of_the_contract_that_rest_can_reach_is_in_the_document(contract: dict[str, Any]) -> None:
    from google.api import annotations_pb2

    annotated = {
        f"{file.package}.{service.name}.{method.name}"
        for file in descriptor_pb2.FileDescriptorSet.FromString(CONTRACT.read_bytes()).file
        for service in file.service
        for method in service.method
        if method.options.HasExtension(annotations_pb2.http)
    }
    shown = {each.get("x-tillmesh-rpc") for item in contract["paths"].values() for each in item.values()}
    assert annotated
    assert annotated <= shown


def test_every_operation_of_the_contract_says_who_may_call_it(contract: dict[str, Any]) -> None:
    silent = [
        each["operationId"]
        for item in contract["paths"].values()
        for each in item.values()
        if "x-tillmesh-access" not in each
    ]
    assert silent == []


def test_errors_name_the_reasons_and_the_shapes_of_their_details(contract: dict[str, Any]) -> None:
    schemas = contract["components"]["schemas"]
    assert {"INSUFFICIENT_STOCK", "EDGE_RATE_LIMITED"} <= set(schemas["common.v1.ErrorReason"]["x-extensible-enum"])
    assert "inventory.v1.StockShortage" in json.dumps(schemas["google.rpc.Status"])
