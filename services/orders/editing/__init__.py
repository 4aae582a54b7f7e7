"""Changing placed orders through every crash: edits, and cancellations in part, as sagas like those of placing.

effects: what they do beyond placing's effects, under the names of their failpoints. saga: the order of effects.
editing: the use cases. Rules are in domain/editing.
"""
