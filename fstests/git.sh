# git at work in the directory $1 with its own checks in between: `git fsck --strict`, an index that
# is equal to the tree, and a second clone with the same objects.
. "$(dirname "$0")/tap.sh"
set -u
rounds=$2
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@example.org
cd "$1" || exit 1
mkdir repository && cd repository || exit 1

# A tree of 20 directories with 10 files each, with content that depends on the round $1.
plant() {
    for dir in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
        mkdir -p "src/$dir"
        for file in 0 1 2 3 4 5 6 7 8 9; do
            echo "$dir $file $(((dir + file + $1) % 7))" >"src/$dir/$file"
        done
    done
    chmod "+x" "src/0/0"
    ln -sfn "$1" src/link
}

clean() {
    [ -z "$(git status --porcelain)" ]
}

tree_is() {
    [ "$(git rev-parse "HEAD^{tree}")" = "$(git write-tree)" ] && [ "$(git write-tree)" = "$1" ]
}

check "init" git init -q -b trunk .
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    plant "$round"
    check "add $round" git add -A
    check "commit $round" git commit -q -m "round $round"
    git tag "round-$round"
    check "status is clean after commit $round" clean
    check "branch $round" git checkout -q -b "side-$round"
    git mv src/1 "src/moved-$round"
    git rm -q -r src/2
    check "commit of a rename and a removal $round" git commit -q -a -m "side $round"
    check "checkout between trees $round" git checkout -q trunk
    check "status is clean after checkout $round" clean
    echo "stashed" >>src/3/3
    check "stash $round" git stash -q
    check "stash pop $round" git stash pop -q
    check "reset $round" git reset -q --hard
    check "merge $round" git merge -q --no-edit -s ours "side-$round"
    check "fsck $round" git fsck --strict --no-dangling
done
tree=$(git rev-parse "HEAD^{tree}")
check "repack" git repack -q -a -d -f
check "gc" git gc -q --prune=now
check "fsck after gc" git fsck --strict --full
check "the tree is the same after gc" tree_is "$tree"
check "worktree" git worktree add -q ../worktree round-1
check "worktree is clean" git -C ../worktree diff --exit-code
check "clone" git clone -q . ../clone
check "fsck of the clone" git -C ../clone fsck --strict --full
same "the clone has the same commits" "$(git rev-list HEAD)" "$(git -C ../clone rev-list HEAD)"
check "checkout of an old tag" git -C ../clone checkout -q round-1
check "and back" git -C ../clone checkout -q trunk
: >.git/index.lock
same "a held index.lock is respected" 128 "$(git add -A >/dev/null 2>&1; echo $?)"
rm .git/index.lock
check "add after the lock is gone" git add -A
