"""ReviewsService, declared and not built yet: paths, ids and access are fixed, each rpc says UNIMPLEMENTED."""

from __future__ import annotations

from typing import Any

import grpc.aio

from services.kit import errors
from tillmesh.reviews.v1 import reviews_service_pb2 as pb
from tillmesh.reviews.v1 import reviews_service_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]


class ReviewsServicer(rpc.ReviewsServiceServicer):
    """Answers UNIMPLEMENTED, after access and validation."""

    async def CreateReview(self, request: pb.CreateReviewRequest, context: Context) -> pb.Review:
        raise errors.Unimplemented

    async def ListProductReviews(
        self, request: pb.ListProductReviewsRequest, context: Context
    ) -> pb.ListReviewsResponse:
        raise errors.Unimplemented

    async def ListLocationReviews(
        self, request: pb.ListLocationReviewsRequest, context: Context
    ) -> pb.ListReviewsResponse:
        raise errors.Unimplemented

    async def ModerateReview(self, request: pb.ModerateReviewRequest, context: Context) -> pb.Review:
        raise errors.Unimplemented
