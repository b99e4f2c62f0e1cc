package testimage

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// contentOf makes the files of all volumes, by partition letter.
func contentOf(opt Options) map[string]Tree {
	version := func(letter string) string {
		if letter == opt.Active {
			return opt.OSVersion
		}
		return opt.OldVersion
	}
	trees := map[string]Tree{
		"a": mbrTree(opt),
		"d": rootTree(opt, "d", version("d")),
		"f": cfgTree(opt),
		"i": efiTree(opt),
	}
	if opt.FillE {
		trees["e"] = rootTree(opt, "e", version("e"))
	}
	return trees
}

// mbrTree is /mbr: the second-stage boot loader and its configuration.
func mbrTree(opt Options) Tree {
	t := Tree{}
	t.File("boot", 0o644, stub(opt, "boot", 86000, 32))
	t.Text("etc/boot.conf", 0o644, "set device hd0"+opt.Active)
	t.Set("etc/random.seed", &Node{Mode: ModeRegular | 0o600, Data: noise(opt.Seed^1, 512)})
	return t
}

// efiTree is /efi.
func efiTree(opt Options) Tree {
	t := Tree{}
	t.File("efi/boot/BOOTX64.EFI", 0o644, peStub(opt.Seed^2, 139264))
	t.File("efi/boot/BOOTIA32.EFI", 0o644, peStub(opt.Seed^3, 114688))
	return t
}

// cfgTree is /cfg: what overrides /etc and /var at every boot.
func cfgTree(opt Options) Tree {
	t := Tree{}
	t.Text("etc/resflash.conf", 0o644, resflashConf...)
	t.Text("etc/myname", 0o644, "gate.example.net")
	t.Text("etc/hostname.em0", 0o640, "inet autoconf")
	t.Text("etc/ssh/ssh_host_ed25519_key.pub", 0o644, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMadeUpForThisImageMadeUpForThisImageMadeUp root@gate.example.net")
	t.Set("etc/ssh/ssh_host_ed25519_key", &Node{Mode: ModeRegular | 0o600, Data: []byte("not a key: made up for this image\n")})
	t.Set("var/db/host.random", &Node{Mode: ModeRegular | 0o600, Data: noise(opt.Seed^4, 65536)})
	t.Dir("upgrade_overlay", 0o755)
	t.Dir("upgrade_overlay/etc", 0o755)
	t.Dir("upgrade_overlay/home", 0o755)
	t.Dir("upgrade_overlay/root", 0o700)
	t.Dir("upgrade_overlay/var", 0o755)
	t.Text("upgrade_overlay/etc/motd", 0o644, "This system is upgraded by replacing it.")
	return t
}

var resflashConf = []string{
	"# Paths below /etc and /var that are saved to /cfg at shutdown.",
	"save_etc='resflash.conf myname hostname.em0 ssh/*key*'",
	"save_var='db/host.random'",
}

// rootTree is a slot: a small OpenBSD.
func rootTree(opt Options, letter, version string) Tree {
	t := Tree{}
	for _, d := range []string{"altroot", "bin", "cfg", "dev", "efi", "etc", "home", "mbr", "mnt", "resflash", "sbin", "usr", "var"} {
		t.Dir(d, 0o755)
	}
	t.Dir("root", 0o700)
	t.Dir("tmp", 0o1777)
	t.Symlink("sys", "usr/src/sys")
	t.File(".cshrc", 0o644, []byte("# csh initialization\numask 022\nalias h history 25\n"))
	t.File(".profile", 0o644, []byte("# sh/ksh initialization\nPATH=/sbin:/usr/sbin:/bin:/usr/bin\nexport PATH\n"))
	kernels(t, opt, version)
	programs(t, opt)
	etc(t, opt, letter, version)
	dev(t)
	usr(t, opt)
	variable(t, opt)
	t.Text("resflash/BUILD", 0o644,
		"version: "+version+".0",
		fmt.Sprintf("build command: build_resflash.sh %d /build/base%s", opt.SizeMB, strings.ReplaceAll(version, ".", "")),
		"build date: "+opt.Time.Format("2006-01-02 15:04:05"))
	for _, s := range []string{"rc.resflash", "resflash.save", "resflash.relink", "set_root_pass.sh", "upgrade.sh", "resflash.sub"} {
		t.Text("resflash/"+s, 0o755, "#!/bin/ksh", "# "+s+": a stand-in, does nothing", "exit 0")
	}
	return t
}

// kernels adds /bsd and its kin. A kernel carries its version in its data,
// which is how an image is identified without booting it.
func kernels(t Tree, opt Options, version string) {
	add := func(name, config string, number, size int) {
		text := fmt.Sprintf("OpenBSD %s (%s) #%d: %s\n    builder@%s.example.net:/usr/src/sys/arch/%s/compile/%s\n\x00",
			version, config, number, opt.Time.Add(-240*time.Hour).Format("Mon Jan _2 15:04:05 MST 2006"), opt.Arch, opt.Arch, config)
		data := stub(opt, name, size, 64)
		copy(data[size*2/3:], text)
		t.Set(name, &Node{Mode: ModeRegular | 0o600, Data: data})
	}
	add("bsd", "GENERIC.MP", 338, 2600000)
	add("bsd.sp", "GENERIC", 279, 700000)
	add("bsd.rd", "RAMDISK_CD", 267, 900000)
	t.Link("bsd.booted", "bsd")
}

var programNames = map[string]string{
	"bin": "cat chgrp chio chmod cp csh date dd df domainname echo ed eject expr hostname kill ksh ln ls md5 mkdir " +
		"mt mv pax ps pwd rm rmdir sh sleep stty sync test",
	"sbin": "atactl bioctl chown clri dhclient dhcpleased disklabel dmesg dump dumpfs fdisk fsck fsck_ext2fs fsck_ffs " +
		"fsck_msdos fsdb fsirand growfs halt ifconfig init iked ipsecctl isakmpd kbd ldattach ldconfig mknod " +
		"mount mount_cd9660 mount_ffs mount_mfs mount_msdos mount_nfs ncheck_ffs newfs newfs_msdos pdisk pfctl " +
		"pflogd ping quotacheck reboot resolvd restore route scan_ffs scsi shutdown slaacd swapctl " +
		"sysctl ttyflags tunefs umount unwind wsconsctl",
	"usr/bin": "apply apropos arch at awk banner basename bc biff c++ cal calendar cap_mkdb chpass cmp col colrm column " +
		"comm compress crontab ctags cut cvs dc diff doas du env fgrep file find finger fmt fold from fstat ftp " +
		"getconf getent grep gzip head hexdump id indent infocmp ipcs jot join kdump ktrace last lex less locate " +
		"lock login logger look lp m4 mail make man mandoc mg mkfifo mktemp nc netstat newsyslog nice nl nm nohup " +
		"openssl passwd paste patch perl pkill pr printf quota rcs readlink rev rsync rup sdiff sed " +
		"sendbug signify skey snmp sort split ssh ssh-add ssh-agent ssh-keygen ssh-keyscan stat strings su systat tail " +
		"talk tcpbench tee telnet tftp time tmux top touch tput tr tset tsort tty ul uname uniq units uptime users " +
		"vi vis vmstat w wall wc what which who xargs yacc",
	"usr/sbin": "acme-client apmd arp authpf bgpctl bgpd chroot cron dhcpd dhcrelay dvmrpd eigrpd ftpd hostapd hotplugd " +
		"httpd identd ifstated inetd installboot iscsid kvm_mkdb ldapd ldpd lpd mopd mtree ndp " +
		"nsd ntpctl ntpd ospfd pkg_add portmap pppd procmap pwd_mkdb rad radiusd rarpd rcctl relayd ripd route6d sasyncd " +
		"sensorsd smtpctl smtpd sndiod snmpd spamd sshd syslogd sysmerge syspatch tcpdump traceroute unbound useradd " +
		"usermod vipw vmctl vmd watchdogd ypbind ypserv zic",
}

// programs fills the folders of programs with stubs of different sizes.
func programs(t Tree, opt Options) {
	rng := rand.New(rand.NewPCG(opt.Seed, 7))
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin"} {
		for _, name := range strings.Fields(programNames[dir]) {
			size := 4096 + rng.IntN(40000)
			if rng.IntN(12) == 0 {
				size += rng.IntN(300000)
			}
			n := t.File(dir+"/"+name, 0o555, stub(opt, name, size, 64))
			n.GID = 7 // bin
			switch name {
			case "su", "doas", "passwd", "chpass", "ping", "shutdown":
				n.Mode, n.GID = ModeRegular|0o4555, 0
			case "wall", "netstat", "crontab":
				n.Mode, n.GID = ModeRegular|0o2555, 4
			}
		}
	}
	for name, old := range map[string]string{
		"bin/[": "bin/test", "bin/rksh": "bin/ksh", "bin/tar": "bin/pax", "bin/cpio": "bin/pax", "bin/sha256": "bin/md5",
		"bin/cksum": "bin/md5", "usr/bin/egrep": "usr/bin/grep", "usr/bin/ex": "usr/bin/vi", "usr/bin/view": "usr/bin/vi",
		"usr/bin/gunzip": "usr/bin/gzip", "usr/bin/zcat": "usr/bin/gzip", "usr/bin/chsh": "usr/bin/chpass",
		"sbin/poweroff": "sbin/halt", "sbin/ping6": "sbin/ping", "sbin/mount_fusefs": "sbin/mount_ffs",
	} {
		t.Link(name, old)
	}
	t.Symlink("usr/bin/cc", "/usr/bin/c++")
	t.Symlink("usr/libexec/cpp", "/usr/bin/clang")
}

// stub returns size bytes that look like a program to file(1) and run nowhere:
// an ELF header of an OpenBSD program and filler that compresses like code.
func stub(opt Options, name string, size, class int) []byte {
	p := make([]byte, size)
	le := binary.LittleEndian
	copy(p, "\x7fELF\x01\x01\x01\x0c") // little-endian, version 1, OpenBSD
	le.PutUint16(p[16:], 2)            // executable
	le.PutUint16(p[18:], 3)            // 80386
	le.PutUint32(p[20:], 1)
	if class == 64 {
		p[4] = 2
		machine := uint16(62) // x86-64
		switch opt.Arch {
		case "i386":
			machine = 3
		case "arm64":
			machine = 183
		case "octeon":
			machine = 8
		}
		le.PutUint16(p[18:], machine)
		le.PutUint64(p[24:], 0x1000)       // entry
		le.PutUint64(p[32:], 64)           // program headers
		le.PutUint16(p[52:], 64)           // header size
		le.PutUint16(p[54:], 56)           // program header size
		le.PutUint16(p[56:], 1)            // one
		le.PutUint32(p[64:], 1)            // PT_LOAD
		le.PutUint32(p[68:], 5)            // readable, executable
		le.PutUint64(p[96:], uint64(size)) // in the file
		le.PutUint64(p[104:], uint64(size))
	}
	h := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	rng := rand.New(rand.NewPCG(opt.Seed, h))
	for at := 128; at+8 <= size; at += 8 {
		le.PutUint64(p[at:], rng.Uint64()&0x0f0f_00ff_ff0f_0f0f)
	}
	return p
}

// peStub is a stub of a UEFI program: an empty DOS program with a PE header.
func peStub(seed uint64, size int) []byte {
	p := noise(seed, size)
	clear(p[:256])
	copy(p, "MZ")
	binary.LittleEndian.PutUint32(p[60:], 128)
	copy(p[128:], "PE\x00\x00\x64\x86")
	return p
}

// noise is size random bytes.
func noise(seed uint64, size int) []byte {
	rng := rand.New(rand.NewPCG(seed, 0x6e6f697365))
	p := make([]byte, (size+7)/8*8)
	for at := 0; at < len(p); at += 8 {
		binary.LittleEndian.PutUint64(p[at:], rng.Uint64())
	}
	return p[:size]
}
