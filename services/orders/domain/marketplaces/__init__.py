"""Orders that others sell for us: what a marketplace says of them, and what becomes of it here. Values in, values out.

values: what there is. quoting: an order's prices and taxes, as the marketplace says. reading: which stretch of time is
read next. listings: which quantity the marketplace has, and when it is told another. ledger: what it owes.
"""
