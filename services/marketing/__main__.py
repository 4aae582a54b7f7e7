"""`python -m services.marketing serve`: the rpcs of the Marketing service. No database, relay or consumers yet."""

from __future__ import annotations

import functools

from services.kit import process
from services.marketing.servicer import MarketingServicer
from tillmesh.marketing.v1 import marketing_service_pb2_grpc as rpc

if __name__ == "__main__":
    serve = functools.partial(
        process.serve, "marketing", rpc.add_MarketingServiceServicer_to_server, MarketingServicer()
    )
    process.main("marketing", {"serve": serve, "all": serve})
