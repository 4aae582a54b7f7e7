"""Placing orders, and undoing them, through every crash: sagas over Inventory, payments and our own database.

port: what is asked of Inventory. effects: every effect, under the name of its failpoint. saga: the order of effects.
running: who runs sagas. placing, cancelling: the use cases; desk: all of it for one process. Rules are in
domain/placement.py and domain/sagas.py.
"""
