# branchfs for bash and zsh: source it from ~/.bashrc or ~/.zshrc.
#
#   bcd NAME        go to the same place in branch NAME (fork it first with bcd -c NAME)
#   bcd             go to the same place in main
#   bbranch         print the branch that you are in
#
# For a prompt that shows the branch:
#
#   bash:  PS1='\w$(branchfs_ps1) \$ '
#   zsh:   setopt prompt_subst; PROMPT='%~$(branchfs_ps1) %# '
#
# Everything here is plain reads of the workspace's files; no program is started.

# Sets _branchfs_root to the nearest branch's root, or fails outside of a workspace.
_branchfs_find() {
    _branchfs_root=$PWD
    until [ -r "$_branchfs_root/@self/status" ]; do
        case $_branchfs_root in
            / | '') return 1 ;;
        esac
        _branchfs_root=${_branchfs_root%/*}
    done
}

# The branch that you are in, as main/fix-a.
bbranch() {
    _branchfs_find || return 1
    while read -r _branchfs_key _branchfs_value; do
        if [ "$_branchfs_key" = branch ]; then
            printf '%s\n' "$_branchfs_value"
            return 0
        fi
    done <"$_branchfs_root/.ctl"
    return 1
}

# " (fix-a)" in a branch, nothing in main or outside of a workspace.
branchfs_ps1() {
    _branchfs_name=$(bbranch 2>/dev/null) || return 0
    case $_branchfs_name in
        main) ;;
        *) printf ' (%s)' "${_branchfs_name#main/}" ;;
    esac
}

bcd() {
    _branchfs_fork=
    if [ "${1-}" = -c ]; then
        _branchfs_fork=1
        shift
    fi
    _branchfs_find || {
        echo 'bcd: not in a branchfs workspace' >&2
        return 1
    }
    _branchfs_below=${PWD#"$_branchfs_root"}
    # Where main is: @branches/NAME goes once per name of the branch.
    _branchfs_main=$_branchfs_root
    _branchfs_name=$(bbranch) || return 1
    while [ "$_branchfs_name" != main ]; do
        _branchfs_main=${_branchfs_main%/@branches/*}
        _branchfs_name=${_branchfs_name%/*}
    done
    _branchfs_to=$_branchfs_main
    _branchfs_rest=${1-}
    case $_branchfs_rest in
        main | main/*) _branchfs_rest=${_branchfs_rest#main} ;;
    esac
    _branchfs_rest=${_branchfs_rest#/}
    while [ -n "$_branchfs_rest" ]; do
        _branchfs_to=$_branchfs_to/@branches/${_branchfs_rest%%/*}
        case $_branchfs_rest in
            */*) _branchfs_rest=${_branchfs_rest#*/} ;;
            *) _branchfs_rest= ;;
        esac
    done
    if [ -n "$_branchfs_fork" ]; then
        mkdir "$_branchfs_to" || return 1
    fi
    if [ -d "$_branchfs_to$_branchfs_below" ]; then
        cd "$_branchfs_to$_branchfs_below" || return 1
    else
        cd "$_branchfs_to" || return 1
    fi
}
