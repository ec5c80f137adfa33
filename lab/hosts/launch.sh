#!/bin/sh
# Start one machine where PID 1 of this machine is not systemd.
#
#   launch.sh CABLES GROUP... -- NSPAWN...
#
# Joins the control groups (their cgroup.procs), then leaves a child of nobody behind, in a session of
# its own, which is in the groups as well, and is done. Standard input is the lab's lock: held until
# here, closed in the child.
set -eu
cables=$1
shift
while [ "$1" != -- ]; do
    echo $$ >"$1"
    shift
done
shift

# nspawn ends with 133 when the machine inside reboots, and wants to be started again. The kernel may
# take its time to let go of the old cables, so they are deleted; where none is left, ip says so.
# shellcheck disable=SC2016  # the inner shell expands these
exec setsid --fork sh -c '
    cables=$1
    shift
    while :; do
        ip -force -batch "$cables" 2>/dev/null
        "$@"
        status=$?
        [ "$status" -eq 133 ] || exit "$status"
    done
' sh "$cables" "$@" </dev/null
