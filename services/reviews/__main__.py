"""`python -m services.reviews serve`: the rpcs of the Reviews service. No database, relay or consumers yet."""

from __future__ import annotations

import functools

from services.kit import process
from services.reviews.servicer import ReviewsServicer
from tillmesh.reviews.v1 import reviews_service_pb2_grpc as rpc

if __name__ == "__main__":
    serve = functools.partial(process.serve, "reviews", rpc.add_ReviewsServiceServicer_to_server, ReviewsServicer())
    process.main("reviews", {"serve": serve, "all": serve})
