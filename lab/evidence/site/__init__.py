"""The stored runs as a site on the loopback: list, filter, look, compare.

    app.py       the addresses, and what may be had at each
    listing.py   which runs the list shows, in which order
    guard.py     what keeps the site to itself
    pages.py     a run's report, built anew when it is out of date
    server.py    the process that serves it

The site works without scripts and without a network. It gives out files of the store alone, to
this machine alone, and whatever a run holds is text to it.
"""
