"""Who may call what, through a real server: roles, scopes, locations, owners, services and users they act for."""

from __future__ import annotations

import grpc
import pytest

from tests.integration.kit_rpc import echo
from tests.integration.kit_rpc.told import refusal
from tests.unit.kit import keyring

DENIED = grpc.StatusCode.PERMISSION_DENIED


async def test_a_caller_without_a_role_of_the_method_is_refused(rpc):
    told = await refusal(rpc.stub.GetEcho(echo.Request(), metadata=rpc.user(roles=["marketer", "admin"])))
    assert (told.code, told.reason, told.http) == (DENIED, "ROLE_REQUIRED", "403")


async def test_a_caller_without_a_scope_is_told_which(rpc):
    told = await refusal(rpc.stub.UpdateEcho(echo.Request(), metadata=rpc.user(scope="inventory:read")))
    assert (told.code, told.reason, told.metadata) == (DENIED, "SCOPE_REQUIRED", {"scope": "inventory:write"})


async def test_a_method_without_a_rule_is_refused_to_everybody(rpc):
    for metadata in (rpc.user(), rpc.user(roles=["admin"], locs=["*"]), rpc.service(tenant=keyring.TENANT)):
        assert (await refusal(rpc.stub.UnruledEcho(echo.Request(), metadata=metadata))).reason == "ROLE_REQUIRED"


async def test_refusals_come_in_order_token_role_scope_validation_location(rpc):
    bad = echo.Request(text="x" * 21, location_id=keyring.OTHER_SHOP)
    call = rpc.stub.MoveEcho
    assert (await refusal(call(bad))).reason == "UNAUTHENTICATED"
    assert (await refusal(call(bad, metadata=rpc.user(roles=["admin"])))).reason == "ROLE_REQUIRED"
    assert (await refusal(rpc.stub.UpdateEcho(bad, metadata=rpc.user(scope="")))).reason == "SCOPE_REQUIRED"
    assert (await refusal(call(bad, metadata=rpc.user()))).reason == "INVALID_REQUEST"
    bad.text = ""
    assert (await refusal(call(bad, metadata=rpc.user()))).reason == "LOCATION_SCOPE"


async def test_each_location_of_a_request_must_be_covered(rpc):
    lines = [{"location_id": keyring.SHOP}, {"location_id": keyring.OTHER_SHOP}]
    one = rpc.stub.MoveEcho(echo.Request(location_id=keyring.SHOP, lines=lines[:1]), metadata=rpc.user())
    assert (await one).version == 3
    told = await refusal(rpc.stub.MoveEcho(echo.Request(lines=lines), metadata=rpc.user()))
    assert (told.code, told.reason) == (DENIED, "LOCATION_SCOPE")
    assert (await rpc.stub.MoveEcho(echo.Request(lines=lines), metadata=rpc.user(locs=["*"]))).version == 3


async def test_a_location_that_isnt_one_is_an_invalid_request_and_not_a_hint(rpc):
    told = await refusal(rpc.stub.MoveEcho(echo.Request(location_id="loc_1"), metadata=rpc.user()))
    assert (told.reason, told.violations) == ("INVALID_REQUEST", ("location_id",))


async def test_a_line_that_is_judged_by_itself_refuses_the_call_for_a_foreign_location_and_nothing_else(rpc):
    broken = {"location_id": "loc_1", "quantity": -1}
    assert (await rpc.stub.MoveEcho(echo.Request(parts=[broken]), metadata=rpc.user())).version == 3
    for parts in ([broken, {"location_id": keyring.OTHER_SHOP, "quantity": -1}], [{"location_id": keyring.OTHER_SHOP}]):
        told = await refusal(rpc.stub.MoveEcho(echo.Request(parts=parts), metadata=rpc.user()))
        assert (told.code, told.reason) == (DENIED, "LOCATION_SCOPE")
    told = await refusal(rpc.stub.MoveEcho(echo.Request(parts=[broken] * 3), metadata=rpc.user()))
    assert (told.reason, told.violations) == ("INVALID_REQUEST", ("parts",))


async def test_another_tenants_location_answers_the_same_as_one_that_never_existed(rpc):
    unknown = "loc_" + "0" * 26
    answers = [
        await refusal(rpc.stub.MoveEcho(echo.Request(location_id=location), metadata=rpc.user()))
        for location in (unknown, keyring.OTHER_SHOP)
    ]
    assert answers[0] == answers[1]


async def test_locations_in_a_request_stream_are_checked_in_each_message(rpc):
    async def requests():
        yield echo.Request(text="a", location_id=keyring.SHOP)
        yield echo.Request(text="b", location_id=keyring.OTHER_SHOP)

    assert (await refusal(rpc.stub.CollectEchoes(requests(), metadata=rpc.user()))).reason == "LOCATION_SCOPE"


async def test_a_customer_may_only_name_themselves(rpc):
    mine = rpc.user(roles=["customer"], cus="cus_1")
    assert (await rpc.stub.ReadOwnEcho(echo.Request(customer_id="cus_1"), metadata=mine)).version == 3
    told = await refusal(rpc.stub.ReadOwnEcho(echo.Request(customer_id="cus_2"), metadata=mine))
    assert (told.reason, told.metadata) == ("NOT_FOUND", {"resource": "customer"})
    staff = rpc.user(roles=["associate", "customer"])
    assert (await rpc.stub.ReadOwnEcho(echo.Request(customer_id="cus_2"), metadata=staff)).version == 3


async def test_a_public_method_needs_no_token_but_refuses_a_bad_one(rpc):
    assert (await rpc.stub.OpenEcho(echo.Request(text="hi"))).text == "hi"
    assert rpc.servicer.seen["principal"].tenant_id == ""
    told = await refusal(rpc.stub.OpenEcho(echo.Request(), metadata=[("authorization", "Bearer x")]))
    assert told.reason == "UNAUTHENTICATED"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwdw==", "Token x"])
async def test_another_scheme_is_no_token(rpc, header):
    told = await refusal(rpc.stub.GetEcho(echo.Request(), metadata=[("authorization", header)]))
    assert told.reason == "UNAUTHENTICATED"


async def test_the_scheme_is_read_without_regard_to_case(rpc):
    metadata = [("authorization", f"bearer {rpc.user_token()}")]
    assert (await rpc.stub.GetEcho(echo.Request(), metadata=metadata)).version == 3


async def test_the_servicer_sees_who_calls(rpc):
    await rpc.stub.GetEcho(echo.Request(), metadata=rpc.user())
    who = rpc.servicer.seen["principal"]
    assert (who.subject, who.tenant_id, who.terminal_id, who.service) == ("usr_ana", keyring.TENANT, "trm_1", "")


# Services ------------------------------------------------------------------------------------------------------------


async def test_a_service_names_the_tenant_it_works_for(rpc):
    await rpc.stub.GetEcho(echo.Request(), metadata=rpc.service(tenant=keyring.OTHER_TENANT))
    who = rpc.servicer.seen["principal"]
    assert (who.service, who.tenant_id, who.actor) == ("orders", keyring.OTHER_TENANT, "svc:orders")
    told = await refusal(rpc.stub.GetEcho(echo.Request(), metadata=rpc.service()))
    assert told.reason == "UNAUTHENTICATED"
    told = await refusal(rpc.stub.GetEcho(echo.Request(), metadata=rpc.service(tenant="ten_1")))
    assert told.reason == "UNAUTHENTICATED"


async def test_a_method_only_for_services_needs_no_tenant(rpc):
    await rpc.stub.PassInternalEcho(echo.Request(), metadata=rpc.service())
    assert rpc.servicer.seen["principal"].tenant_id == ""


async def test_a_user_cant_set_the_tenant_or_act_for_another_user(rpc):
    admin = rpc.user_token(tid=keyring.OTHER_TENANT, roles=["admin"], locs=["*"])
    forged = [("x-tillmesh-tenant", keyring.OTHER_TENANT), ("x-tillmesh-on-behalf", admin)]
    await rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), *forged])
    who = rpc.servicer.seen["principal"]
    assert (who.tenant_id, who.roles, who.service) == (keyring.TENANT, {"associate"}, "")


async def test_a_method_for_some_services_refuses_the_others_and_users(rpc):
    assert (await rpc.stub.PassInternalEcho(echo.Request(text="a"), metadata=rpc.service())).text == "a"
    for metadata in (rpc.service("marketing", tenant=keyring.TENANT), rpc.user(roles=["service", "admin"])):
        told = await refusal(rpc.stub.PassInternalEcho(echo.Request(), metadata=metadata))
        assert told.reason == "ROLE_REQUIRED"


async def test_a_service_may_only_call_what_lists_services(rpc):
    told = await refusal(rpc.stub.UpdateEcho(echo.Request(), metadata=rpc.service(tenant=keyring.TENANT)))
    assert told.reason == "ROLE_REQUIRED"


async def test_on_behalf_of_a_user_a_service_has_their_tenant_and_locations(rpc):
    behalf = rpc.service(behalf=rpc.user_token(roles=["storefront"], scope=""), tenant=keyring.OTHER_TENANT)
    await rpc.stub.MoveEcho(echo.Request(location_id=keyring.SHOP), metadata=behalf)
    who = rpc.servicer.seen["principal"]
    assert (who.service, who.subject, who.tenant_id) == ("orders", "usr_ana", keyring.TENANT)
    told = await refusal(rpc.stub.MoveEcho(echo.Request(location_id=keyring.OTHER_SHOP), metadata=behalf))
    assert told.reason == "LOCATION_SCOPE"


async def test_where_services_have_no_role_of_their_own_the_users_counts(rpc):
    assert (await rpc.stub.UpdateEcho(echo.Request(), metadata=rpc.service(behalf=rpc.user_token()))).version == 3
    unable = rpc.service(behalf=rpc.user_token(scope="inventory:read"))
    assert (await refusal(rpc.stub.UpdateEcho(echo.Request(), metadata=unable))).reason == "SCOPE_REQUIRED"


async def test_on_behalf_of_someone_whose_token_is_bad_is_refused(rpc):
    services_own = rpc.service()[0][1].removeprefix("Bearer ")
    for token in ("x", "", rpc.user_token(exp=1), services_own):
        metadata = [*rpc.service(tenant=keyring.TENANT), ("x-tillmesh-on-behalf", token)]
        assert (await refusal(rpc.stub.GetEcho(echo.Request(), metadata=metadata))).reason == "UNAUTHENTICATED"


async def test_a_services_token_for_another_service_is_refused(rpc):
    metadata = rpc.service(tenant=keyring.TENANT, aud="svc:marketing")
    assert (await refusal(rpc.stub.GetEcho(echo.Request(), metadata=metadata))).reason == "UNAUTHENTICATED"
