# What the drivers share: `check NAME COMMAND...` runs a command and prints `ok NAME`, or
# `not ok NAME` and what the command said.

check() {
    name=$1
    shift
    if said=$("$@" 2>&1); then
        echo "ok $name"
    else
        echo "not ok $name: $(printf '%s' "$said" | tail -n 8 | tr '\n' ' ')"
    fi
}

# `same NAME EXPECTED FOUND`
same() {
    if [ "$2" = "$3" ]; then
        echo "ok $1"
    else
        echo "not ok $1: expected '$2', found '$3'"
    fi
}
