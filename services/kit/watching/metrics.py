"""Metrics of streams. The label is the kind of stream, e.g. `stock`; never a tenant or a key."""

from __future__ import annotations

import prometheus_client

_STREAM = ("stream",)

ACTIVE = prometheus_client.Gauge("tillmesh_stream_active", "Streams that are open.", _STREAM)
FEEDS = prometheus_client.Gauge("tillmesh_stream_feeds", "Keys that are watched.", _STREAM)
ENDED = prometheus_client.Counter("tillmesh_stream_ended_total", "Streams ended by the server.", (*_STREAM, "reason"))
RESYNC = prometheus_client.Counter(
    "tillmesh_stream_resync_total", "Readers that had to begin again, by why.", (*_STREAM, "reason")
)
CONFLATED = prometheus_client.Counter(
    "tillmesh_stream_conflated_total", "Frames with the newest levels instead of each change.", _STREAM
)
SNAPSHOTS = prometheus_client.Counter("tillmesh_stream_snapshots_total", "Snapshots read.", _STREAM)
FAILED_READS = prometheus_client.Counter("tillmesh_stream_failed_reads_total", "Reads that are tried again.", _STREAM)
LAG = prometheus_client.Histogram(
    "tillmesh_stream_event_lag_seconds",
    "From the commit's recorded_at to the streams of this process.",
    _STREAM,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
