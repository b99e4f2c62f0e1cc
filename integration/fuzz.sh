#!/bin/sh
# Runs every fuzzer of the tree, one after the other, for the time given
# (default 10m each). A crash leaves its input in the testdata of its package.
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
