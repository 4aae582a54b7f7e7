"""MarketingService, declared and not built yet: paths, ids and access are fixed, each rpc says UNIMPLEMENTED."""

from __future__ import annotations

from typing import Any

import grpc.aio

from services.kit import errors
from tillmesh.marketing.v1 import marketing_service_pb2 as pb
from tillmesh.marketing.v1 import marketing_service_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]


class MarketingServicer(rpc.MarketingServiceServicer):
    """Answers UNIMPLEMENTED, after access and validation."""

    async def CreateCampaign(self, request: pb.CreateCampaignRequest, context: Context) -> pb.Campaign:
        raise errors.Unimplemented

    async def GetCampaignPerformance(self, request: pb.GetCampaignRequest, context: Context) -> pb.Campaign:
        raise errors.Unimplemented

    async def GetCampaignSales(self, request: pb.GetCampaignRequest, context: Context) -> pb.Campaign:
        raise errors.Unimplemented

    async def GetCampaignAnalytics(self, request: pb.GetCampaignRequest, context: Context) -> pb.Campaign:
        raise errors.Unimplemented
