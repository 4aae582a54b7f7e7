"""Marketplaces: their orders come in, stock and status go out. docs/marketplaces.md says how to connect one.

port: what is asked of a marketplace; adapters/: who they are. intake: orders in. placing: an order of theirs through
the saga. stock: quantities out. statuses: what becomes of their orders, out. tending: who does it, one process a
connection. desk: all of it for one process; handlers, mapping, servicer: what people see of it.
"""
