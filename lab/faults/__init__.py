"""Faults that really happen on the hosts: injected, measured, healed.

`apps.kit.faults` has the words for them. `orders` says what each means for each host, `agent` has
the hosts do it (`onhost` is what runs there), `control` is what demos and verbs call.
"""
