#!/bin/sh
# Three fixes race; the first whose tests pass lands. Nothing but file operations.
#
#   race.sh WORKSPACE TEST FIX FIX ...      TEST and FIX are shell commands
#
# Prints the winner's number, from 1; exits with 1 if no fix passes the test.
set -eu
workspace=$1 test=$2
shift 2

number=0
for fix; do
    number=$((number + 1))
    branch=$workspace/@branches/race-$number
    mkdir "$branch" # fork
    (
        cd "$branch"
        # The write that commits fails (ESTALE) if another branch was first.
        if sh -c "$fix" && sh -c "$test" && echo commit 2>/dev/null >.ctl; then
            echo "$number" >&3
        fi
    ) 3>&1 >/dev/null 2>&1 &
done | {
    # The first line is the winner's; without one, all have failed.
    if read -r winner; then echo "$winner"; else exit 1; fi
} && status=0 || status=1

# Those that have failed are still there; those that have lost are not.
for branch in "$workspace"/@branches/race-*; do
    if [ -d "$branch" ]; then rmdir "$branch"; fi
done
exit $status
