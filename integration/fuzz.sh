#!/bin/sh
# Runs every fuzzer of the tree, one after the other, for the time given
# (default 10m each). A crash leaves its input in the testdata of its package.
# Then come random operations on file systems, with SEEDS seeds (default 1000);
# a failure prints the shortest list of operations that it could find.
set -eu
cd "$(dirname "$0")/.."
time=${1:-10m}
grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r name; do
		echo "== $name in $(dirname "$file") for $time"
		# Inputs are images: shrinking every one that is new would take all the time.
		GOMEMLIMIT=200MiB "${GO:-go}" test -run '^$' -fuzz "^$name\$" -fuzztime "$time" \
			-fuzzminimizetime 1x "$(dirname "$file")"
	done
done
for test in TestFFSModel TestExtModel TestFATModel; do
	echo "== $test with ${SEEDS:=1000} seeds"
	RESFLASH_MODEL_SEEDS=$SEEDS "${GO:-go}" test -timeout 0 -count 1 -v -run "^$test\$" ./integration
done
echo "== 300 damages of each kind to ext4"
RESFLASH_DAMAGES=300 "${GO:-go}" test -timeout 0 -count 1 -run '^TestRepair$' ./image/ext4/fsck
