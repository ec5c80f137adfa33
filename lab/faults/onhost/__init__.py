"""The part of the fault tools that runs on a host: a Debian with Python 3.10 or newer and systemd.

It is sent there as one file when it is first needed, uses the standard library and the host's own
`nft`, `tc`, `systemctl` and `ping`, and needs nothing of the lab to be deployed. All that it does
is written down before it acts (`records`), and healed by a timer of the host's own systemd,
whatever becomes of who asked for it.
"""
