#!/usr/bin/env python3
"""Several fixes race; the first whose tests pass lands. Nothing but file operations.

    race.py WORKSPACE TEST FIX FIX ...      TEST and FIX are shell commands

Prints the winner's number, from 1; exits with 1 if no fix passes the test.
"""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def attempt(branch: Path, fix: str, test: str) -> bool:
    """Runs a fix in its branch and commits it if the test passes."""
    for command in (fix, test):
        if subprocess.run(["sh", "-c", command], cwd=branch, capture_output=True).returncode:
            return False
    try:
        (branch / ".ctl").write_text("commit\n")
    except OSError as error:
        if error.errno in (errno.ESTALE, errno.ENOENT):  # another branch was first
            return False
        raise
    return True


def main() -> int:
    workspace, test, *fixes = sys.argv[1:]
    branches = [Path(workspace, "@branches", f"race-{i}") for i in range(1, len(fixes) + 1)]
    for branch in branches:
        branch.mkdir()  # fork
    with ThreadPoolExecutor(len(fixes)) as pool:
        won = list(pool.map(attempt, branches, fixes, [test] * len(fixes)))
    for branch in branches:
        if branch.is_dir():  # it has failed; one that has lost is not there
            os.rmdir(branch)
    if True not in won:
        return 1
    print(won.index(True) + 1)
    return 0


sys.exit(main())
