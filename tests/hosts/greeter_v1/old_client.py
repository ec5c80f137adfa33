"""A client made from the first version of the interface: it knows Ice, and nothing of distlab.

python3 old_client.py HOST PORT NAME
"""

from __future__ import annotations

import sys

import greeter_ice  # noqa: F401  defines the module that is imported next
import Ice
from greeter_v1 import Greeting

host, port, name = sys.argv[1:]
with Ice.initialize() as communicator:
    proxy = communicator.stringToProxy(f"greeter:tcp -h {host} -p {port} -t 5000")
    greeter = Greeting.GreeterPrx.checkedCast(proxy.ice_invocationTimeout(5000))
    try:
        print(greeter.greet(Greeting.Guest(name)))
    except Greeting.Unkind as no:
        print(f"unkind: {no.why}")
    print(greeter.greeted() > 0)
