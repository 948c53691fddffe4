complete --keep-order --exclusive --command branchfs --arguments "(_BRANCHFS_COMPLETE=fish branchfs -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
