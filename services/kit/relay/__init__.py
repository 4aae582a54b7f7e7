"""Publishes the outbox to JetStream: each key by one relay at a time, in order, at least once.

`relay` has the flow, `shares` who may publish what, `store` the SQL. What is published and where belongs to `events`,
`subjects` and `streams`.
"""

from services.kit.relay.relay import Options, Relay

__all__ = ["Options", "Relay"]
