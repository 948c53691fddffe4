# branchfs for fish: copy it to ~/.config/fish/conf.d/.
#
#   bcd NAME        go to the same place in branch NAME (fork it first with bcd -c NAME)
#   bcd             go to the same place in main
#   bbranch         print the branch that you are in
#   fish_prompt:    echo -n (prompt_pwd)(branchfs_prompt)' > '

function _branchfs_root
    set -l dir $PWD
    while not test -r "$dir/@self/status"
        test "$dir" = / -o "$dir" = ''; and return 1
        set dir (string replace -r '/[^/]*$' '' -- $dir)
    end
    echo $dir
end

function bbranch
    set -l root (_branchfs_root); or return 1
    string replace -rf '^branch ' '' <"$root/.ctl"
end

function branchfs_prompt
    set -l name (bbranch 2>/dev/null); or return 0
    test "$name" = main; or echo -n " ("(string replace -r '^main/' '' -- $name)")"
end

function bcd
    set -l fork
    if test "$argv[1]" = -c
        set fork 1
        set -e argv[1]
    end
    set -l root (_branchfs_root)
    or begin
        echo 'bcd: not in a branchfs workspace' >&2
        return 1
    end
    set -l below (string sub -s (math (string length -- $root) + 1) -- $PWD)
    set -l to $root
    set -l name (bbranch)
    while test "$name" != main
        set to (string replace -r '/@branches/[^/]*$' '' -- $to)
        set name (string replace -r '/[^/]*$' '' -- $name)
    end
    for part in (string split -n / -- (string replace -r '^main(/|$)' '' -- "$argv[1]"))
        set to $to/@branches/$part
    end
    test -n "$fork"; and begin
        mkdir $to; or return 1
    end
    test -d "$to$below"; and cd "$to$below"; or cd $to
end
