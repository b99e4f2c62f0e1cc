#!/bin/sh
# The main job on a real image: one in the resflash layout, which this makes
# itself. Runs as an ordinary user and needs nothing but Go; the mount is shown
# where FUSE can be used.
set -eu
cd "$(dirname "$0")/.."
resflash=$PWD/resflash
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
cd "$dir"

bold='' plain=''
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }
try() { say "$@"; eval "$@"; }

(cd "$OLDPWD" && "${GO:-go}" run ./integration/mkdemo "$dir/demo.img")
PATH=$(dirname "$resflash"):$PATH

try resflash inspect demo.img
try resflash cat demo.img:mbr:/etc/boot.conf
try resflash ls -l demo.img:/
try resflash cat demo.img:/etc/fstab
try resflash ls -l demo.img:cfg:/etc
try resflash find demo.img:/ --perm -4000
try "resflash export demo.img:/etc | tar tv | head -n 5"
try resflash cp -r demo.img:/etc etc
try "resflash hash demo.img:/etc/fstab; sha256sum etc/fstab"

mkdir mnt
say resflash mount demo.img mnt
if resflash mount demo.img mnt; then
	try ls mnt
	try cmp mnt/root/etc/fstab etc/fstab
	try resflash umount mnt
else
	echo "FUSE cannot be used here, so the mount is left out; everything else needs no mount."
fi
