"""Topologies: hosts, switches and routers, with links that have delay, jitter, loss, bandwidth.

`model` has the words, `files` reads and writes them, `validate` judges, `generate` draws one from a
seed. `addresses` works out networks, addresses and routes, and `paths` what lies between two hosts.
`place` puts the patterns on the hosts, `inventory` makes of it all what every other verb takes, and
`wiring` and `links` what boots. `picture` draws it; `mininet` exports it.
"""
