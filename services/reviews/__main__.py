"""`python -m services.reviews serve`: the rpcs of the Reviews service. No database, relay or consumers yet."""

from __future__ import annotations

from services.kit import process, server, settings
from services.reviews.servicer import ReviewsServicer
from tillmesh.reviews.v1 import reviews_service_pb2_grpc as rpc


async def serve() -> None:
    """Serves until a signal."""
    config = settings.ServiceSettings()
    grpc_server = server.Server(config, "reviews", server.verifier(config, "reviews"))
    grpc_server.add(rpc.add_ReviewsServiceServicer_to_server, ReviewsServicer())
    await grpc_server.start()
    await grpc_server.run_until_signal()


if __name__ == "__main__":
    process.main("reviews", {"serve": serve, "all": serve})
