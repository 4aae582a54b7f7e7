"""Consumes another service's events: each once, in order by key, though JetStream repeats, reorders and loses.

`positions` has the rule and the cursor, `effects` what is done with an event, `owners` the source of truth to ask,
`catching_up` the replay from there, `troubles` how long to wait and when to give up, `pulling` the consumer on the
stream, `consuming` the flow. Comparing heads while nothing arrives is `reconcile`'s, the rpcs of dead letters are
`dead_letters`'.
"""

from services.kit.inbox.consuming import Inbox, Limits
from services.kit.inbox.effects import Effect, Outcome, SessionEffect
from services.kit.inbox.owners import Owner, StubOwner
from services.kit.inbox.positions import Position, decide
from services.kit.inbox.subscriptions import Subscription

__all__ = [
    "Effect",
    "Inbox",
    "Limits",
    "Outcome",
    "Owner",
    "Position",
    "SessionEffect",
    "StubOwner",
    "Subscription",
    "decide",
]
