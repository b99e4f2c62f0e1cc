#!/bin/sh
# The main job on a real image: one in the resflash layout, which this makes
# itself. Runs as an ordinary user and needs nothing but Go; the mount is shown
# where FUSE can be used.
set -eu
cd "$(dirname "$0")/.."
resflash=$PWD/resflash
dir=$(mktemp -d)
mounted=''
trap '[ -z "$mounted" ] || "$resflash" umount --lazy "$dir/$mounted"; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
cd "$dir"

bold='' plain=''
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }
try() { say "$@"; eval "$@"; }
fails() { say "$@"; ! eval "$@"; }
title() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }

(cd "$OLDPWD" && "${GO:-go}" run ./integration/mkdemo "$dir/demo.img")
PATH=$(dirname "$resflash"):$PATH

try resflash inspect demo.img
try resflash cat demo.img:mbr:/etc/boot.conf
try resflash ls -l demo.img:/
try resflash find demo.img:/ --perm -4000
try "resflash export demo.img:/etc | tar tv | head -n 5"
try resflash cp -r demo.img:/etc etc
try "resflash hash demo.img:/etc/fstab; sha256sum etc/fstab"

title "Change it. Every command is one transaction; nothing needs root."
mkdir -p site/htdocs
echo '<h1>It works</h1>' >site/htdocs/index.html
ln -s htdocs site/www
try "echo fw7.example.net | resflash write demo.img:/etc/myname"
try resflash cp -r site demo.img:/var/ --dry-run
try resflash cp -r site demo.img:/var/
try resflash chmod -R u=rwX,go=rX demo.img:/var/site
try resflash chown root:operator demo.img:/var/site -v
try resflash mknod -m 0600 demo.img:/dev/tty99 c 12 99
try resflash ls -l demo.img:/etc/myname demo.img:/var/site
fails resflash rm demo.img:/etc/myname demo.img:/no/such/file
try resflash cat demo.img:/etc/myname
try resflash check demo.img:root demo.img:cfg demo.img:mbr

title "Fill the empty slot."
try resflash mkfs --type ffs2 demo.img:inactive
try resflash cp -a demo.img:root:/. demo.img:inactive:/
try resflash check demo.img:inactive
try "resflash export demo.img:root --format mtree >root.mtree; resflash export demo.img:inactive --format mtree | cmp - root.mtree && echo the same"

say "resflash edit demo.img:inactive --edit '/etc/fstab:s|\\.d / |.e / |' -v"
resflash edit demo.img:inactive --edit '/etc/fstab:s|\.d / |.e / |' -v

title "Damage, and repair."
try resflash mkfs --type ffs2 --size 64M own.fs
try resflash cp -r etc own.fs:/
try dd if=/dev/zero of=own.fs bs=8k seek=8 count=1 conv=notrunc status=none
fails resflash ls own.fs:/
try resflash check --repair --yes --type ffs own.fs
try "resflash cat own.fs:/etc/fstab | cmp - etc/fstab && echo nothing was lost"

title "The same for ext4 and FAT."
try resflash mkfs --type ext4 --from etc --label config --size 32M config.img
try resflash cp -a demo.img:/usr config.img:/
try resflash mv config.img:/usr config.img:/moved
try resflash mkfs --type fat --label BOOT --size 8M boot.img
try resflash cp -r site/htdocs boot.img:/
try resflash check config.img boot.img
try resflash inspect config.img

title "Change a system by a script: passwords, keys, services, files."
cat >site.script <<'END'
# the firewalls of ${SITE}
hostname fw7.${SITE}.example.net
write "/etc/motd:Welcome to ${SITE}.\n"
append-line /etc/sysctl.conf:net.inet.ip.forwarding=1
root-password file:root.pw
END
echo 'correct horse battery staple' >root.pw
try cat site.script
try resflash edit -f site.script --set SITE=vienna --manifest changes.json -v demo.img
try resflash check demo.img:root demo.img:cfg

title "What must not be shipped in it? Take it out, and look again."
fails "resflash audit demo.img >audit.txt"
try tail -n 1 audit.txt
fails resflash seal --dry-run demo.img
try resflash seal --quiet --opt-in obsd-random-seed,password-set -o golden.img demo.img
try "resflash audit golden.img >audit.txt"
try tail -n 1 audit.txt
fails resflash diff demo.img:root golden.img:root

title "Mount it for writing."
mkdir mnt
say resflash mount --quiet demo.img mnt
if resflash mount --quiet demo.img mnt; then
	mounted=mnt
	try ls mnt
	try cmp mnt/root/etc/fstab etc/fstab
	try "echo 'written through the mount' >mnt/cfg/etc/motd; mkdir mnt/root/var/new; rm mnt/root/etc/myname"
	try resflash umount mnt
	mounted=''
	try resflash cat demo.img:cfg:/etc/motd
	try resflash check demo.img:root demo.img:cfg
else
	echo "SKIPPED: FUSE cannot be used here, so the mount is left out; everything else needs no mount."
fi
