"""`python -m services.marketing serve`: the rpcs of the Marketing service. No database, relay or consumers yet."""

from __future__ import annotations

from services.kit import process, server, settings
from services.marketing.servicer import MarketingServicer
from tillmesh.marketing.v1 import marketing_service_pb2_grpc as rpc


async def serve() -> None:
    """Serves until a signal."""
    config = settings.ServiceSettings()
    grpc_server = server.Server(config, "marketing", server.verifier(config, "marketing"))
    grpc_server.add(rpc.add_MarketingServiceServicer_to_server, MarketingServicer())
    await grpc_server.start()
    await grpc_server.run_until_signal()


if __name__ == "__main__":
    process.main("marketing", {"serve": serve, "all": serve})
