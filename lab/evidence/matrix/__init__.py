"""The fault matrix: each pattern's workload under each fault, and what came of it.

A cell is a run of its own, in the matrix' directory: a workload goes on while one fault befalls
what matters most of it. `availability` measures what its clients noticed, `cell` puts it in words,
`faults` says what is injected, `play` plays, `page` shows. The words of a cell:

violated    a promised claim does not hold
unknown     a promised claim could not be judged, or the fault did not take while the workload
            went on
degraded    all promises hold, and clients noticed: an operation was disturbed, or something was
            lost or came twice
holds       all promises hold, and no client noticed

An operation that was asked while the workload went on is *disturbed* if it did not end well, or
took longer than twice the slowest before the fault and 0.25 s at least. Beside the word stand,
where they are more than nothing:

unavailable the longest time without an operation that ended well, while some were asked, from the
            injection on; more than twice the longest before the fault and 0.25 s at least
recovered   from the end of the fault (for what is over at once, from its moment) until the last
            disturbed operation was over; "not recovered" if none ended well from then on
lost        as the workload counts it: what was asked or sent and never answered or received
duplicated  as the workload counts it: what was received more often than sent
"""
