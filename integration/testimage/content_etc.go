package testimage

import (
	"fmt"
	"strings"
)

// etc adds /etc and /root.
func etc(t Tree, opt Options, letter, version string) {
	id := DUIDString(opt.DUID)
	fstab := []string{
		id + ".a /mbr ffs rw,noatime,nodev,noexec,noauto 1 2",
	}
	if opt.SwapMB > 0 {
		fstab = append(fstab, id+".b none swap sw")
	}
	fstab = append(fstab,
		id+"."+letter+" / ffs ro,noatime 1 1",
		id+".f /cfg ffs rw,noatime,nodev,noexec,noauto 1 2",
		id+".i /efi msdos rw,noatime,nodev,noexec,noauto 0 0",
		"swap /tmp mfs rw,noatime,nodev,nosuid,-s32M 0 0")
	t.Text("etc/fstab", 0o644, fstab...)
	t.Text("etc/myname", 0o644, "resflash.example.net")
	t.Text("etc/hosts", 0o644, "127.0.0.1\tlocalhost", "::1\t\tlocalhost")
	t.Text("etc/resflash.conf", 0o644, resflashConf...)
	t.Text("etc/motd", 0o644, "OpenBSD "+version+" ("+opt.Arch+")", "", "Welcome to a system that exists only in this image.", "")
	t.Text("etc/installurl", 0o644, "https://mirror.example.net/pub/OpenBSD")
	t.Text("etc/resolv.conf", 0o644, "nameserver 192.0.2.53", "lookup file bind")
	t.Text("etc/hostname.em0", 0o640, "inet autoconf")
	t.Text("etc/mygate", 0o644, "192.0.2.1")
	t.Text("etc/doas.conf", 0o600, "permit persist :wheel")
	t.Text("etc/pf.conf", 0o600, "set skip on lo", "block return", "pass")
	t.Text("etc/shells", 0o644, "/bin/sh", "/bin/csh", "/bin/ksh")
	t.Text("etc/sysctl.conf", 0o644, "net.inet.ip.forwarding=1")
	t.Text("etc/ntpd.conf", 0o644, "servers pool.ntp.example.net", "sensor *")
	t.Text("etc/rc.conf", 0o644, "# defaults; see rc.conf.local", "sshd_flags=", "ntpd_flags=", "resolvd_flags=NO")
	t.Text("etc/rc.conf.local", 0o644, "resolvd_flags=NO", "smtpd_flags=NO")
	t.Text("etc/rc", 0o644, "# System startup script: a stand-in.", "rm -f /fastboot",
		"[[ -f /etc/soii.key ]] || openssl rand -hex 16 >/etc/soii.key", "[[ -f /etc/iked/private/local.key ]] || openssl genpkey >/etc/iked/private/local.key", "ssh-keygen -A",
		"/resflash/rc.resflash", "_rc_parse_conf", "exit 0")
	t.Text("etc/rc.shutdown", 0o600, "# site-specific shutdown", "/resflash/resflash.save", "/resflash/resflash.relink")
	t.Text("etc/ttys", 0o644, `console "/usr/libexec/getty std.9600" vt220 off secure`,
		`ttyC0 "/usr/libexec/getty std.9600" vt220 on secure`, `tty00 "/usr/libexec/getty std.9600" unknown off`)
	t.Text("etc/login.conf", 0o644, "default:\\", "\t:path=/usr/bin /bin /usr/sbin /sbin:\\", "\t:umask=022:")
	t.Text("etc/newsyslog.conf", 0o644, "/var/log/messages 644 5 300 * Z", "/var/log/authlog root:wheel 640 7 * 168 Z")
	t.Text("etc/syslog.conf", 0o644, "*.notice;auth,authpriv,cron,ftp,kern,lpr,mail,user.none\t/var/log/messages", "auth.info\t/var/log/authlog")
	t.Text("etc/crontab", 0o600, "SHELL=/bin/sh", "30 1 * * * /bin/sh /etc/daily")
	t.Text("etc/daily", 0o644, "# daily jobs: a stand-in")
	t.Text("etc/services", 0o644, services...)
	t.Text("etc/protocols", 0o644, "ip 0 IP", "icmp 1 ICMP", "tcp 6 TCP", "udp 17 UDP")
	t.Symlink("etc/localtime", "/usr/share/zoneinfo/UTC")
	t.Symlink("etc/termcap", "/usr/share/misc/termcap")
	t.Symlink("etc/rmt", "/usr/sbin/rmt")
	t.Dir("etc/ssl/private", 0o700)
	t.Text("etc/ssl/openssl.cnf", 0o644, "[ req ]", "prompt = no")
	t.Text("etc/ssh/sshd_config", 0o644, "PermitRootLogin no", "Subsystem sftp /usr/libexec/sftp-server")
	t.Text("etc/ssh/ssh_config", 0o644, "# Host *")
	t.Text("etc/mail/aliases", 0o644, "root: operator@example.net", "postmaster: root")
	t.Text("etc/mail/smtpd.conf", 0o644, "listen on lo0", `action "local" mbox`)
	t.Text(fmt.Sprintf("etc/signify/openbsd-%s-base.pub", strings.ReplaceAll(version, ".", "")), 0o644,
		"untrusted comment: made up for this image", "RWQmadeUpForThisImageMadeUpForThisImageMadeUpForThisImage")
	t.Set("etc/random.seed", &Node{Mode: ModeRegular | 0o600, Data: noise(opt.Seed^5, 512)})
	t.Set("etc/soii.key", &Node{Mode: ModeRegular | 0o600, Data: []byte("00112233445566778899aabbccddeeff\n")})
	accounts(t)
	for _, s := range []string{"apmd", "bgpd", "cron", "dhcpd", "httpd", "iked", "nsd", "ntpd", "ospfd", "relayd",
		"slowcgi", "smtpd", "snmpd", "sshd", "syslogd", "unbound", "vmd"} {
		t.Text("etc/rc.d/"+s, 0o555, "#!/bin/ksh", "daemon=\"/usr/sbin/"+s+"\"", ". /etc/rc.d/rc.subr", "rc_cmd $1")
	}
	t.File("root/.profile", 0o644, []byte("PATH=$HOME/bin:/bin:/sbin:/usr/bin:/usr/sbin\nexport PATH HOME TERM\n"))
	t.Text("root/.ssh/authorized_keys", 0o600)
	t["root/.ssh"].Mode = ModeDir | 0o700
}

var services = func() []string {
	var lines []string
	for _, s := range strings.Fields("ftp:21 ssh:22 telnet:23 smtp:25 domain:53 tftp:69 www:80 pop3:110 ntp:123 imap:143 snmp:161 bgp:179 https:443 syslog:514 submission:587 ldaps:636 imaps:993 nfsd:2049") {
		name, port, _ := strings.Cut(s, ":")
		lines = append(lines, fmt.Sprintf("%-16s%s/tcp", name, port), fmt.Sprintf("%-16s%s/udp", name, port))
	}
	return lines
}()

// account is a line of the password file.
type account struct {
	name        string
	uid, gid    int
	gecos, home string
	shell       string
}

var accountList = []account{
	{"root", 0, 0, "Charlie &", "/root", "/bin/ksh"},
	{"daemon", 1, 1, "The devil himself", "/root", "/sbin/nologin"},
	{"operator", 2, 5, "System &", "/operator", "/sbin/nologin"},
	{"bin", 3, 7, "Binaries Commands and Source", "/", "/sbin/nologin"},
	{"build", 21, 21, "base and xenocara build", "/var/empty", "/bin/ksh"},
	{"sshd", 27, 27, "sshd privsep", "/var/empty", "/sbin/nologin"},
	{"www", 67, 67, "HTTP Server", "/var/www", "/sbin/nologin"},
	{"_syslogd", 73, 73, "Syslog Daemon", "/var/empty", "/sbin/nologin"},
	{"_ntp", 83, 83, "NTP Daemon", "/var/empty", "/sbin/nologin"},
	{"_smtpd", 95, 95, "SMTP Daemon", "/var/empty", "/sbin/nologin"},
	{"admin", 1000, 1000, "Administrator", "/home/admin", "/bin/ksh"},
	{"nobody", 32767, 32767, "Unprivileged user", "/nonexistent", "/sbin/nologin"},
}

// accounts adds the password files. The hash is of no password.
func accounts(t Tree) {
	var master, passwd []string
	for _, a := range accountList {
		hash := "*************"
		if a.name == "root" {
			hash = "$2b$10$" + strings.Repeat("madeup", 9)[:53]
		}
		master = append(master, fmt.Sprintf("%s:%s:%d:%d:daemon:0:0:%s:%s:%s", a.name, hash, a.uid, a.gid, a.gecos, a.home, a.shell))
		passwd = append(passwd, fmt.Sprintf("%s:*:%d:%d:%s:%s:%s", a.name, a.uid, a.gid, a.gecos, a.home, a.shell))
	}
	t.Text("etc/master.passwd", 0o600, master...)
	t.Text("etc/passwd", 0o644, passwd...)
	t.Text("etc/group", 0o644, "wheel:*:0:root,admin", "daemon:*:1:daemon", "kmem:*:2:root", "sys:*:3:root", "tty:*:4:root",
		"operator:*:5:root", "bin:*:7:", "wsrc:*:9:", "users:*:10:", "auth:*:11:", "games:*:13:", "staff:*:20:root",
		"sshd:*:27:", "utmp:*:45:", "_shadow:*:65:", "www:*:67:", "_syslogd:*:73:", "_ntp:*:83:", "_smtpd:*:95:",
		"dialer:*:117:", "admin:*:1000:", "nogroup:*:32766:", "nobody:*:32767:")
	home := t.Dir("home/admin", 0o755)
	home.UID, home.GID = 1000, 1000
	profile := t.Text("home/admin/.profile", 0o644, "# sh/ksh initialization", "export ENV=$HOME/.kshrc")
	profile.UID, profile.GID = 1000, 1000
	// A name and a target that do not fit where short ones go.
	notes := t.Text("home/admin/"+strings.Repeat("a long name for a short note ", 8)+".txt", 0o644, "Names may have 255 bytes.")
	notes.UID, notes.GID = 1000, 1000
	t.Symlink("home/admin/far-away", "../../"+strings.Repeat("usr/share/../", 12)+"share/misc/termcap")
}

// dev adds the device nodes that MAKEDEV all makes on amd64.
func dev(t Tree) {
	node := func(name string, kind, major, minor, perm, gid uint32) {
		t.Device("dev/"+name, kind, perm, gid, major, minor)
	}
	t.Text("dev/MAKEDEV", 0o555, "#!/bin/sh -", "# a stand-in, makes nothing")
	node("console", ModeChar, 0, 0, 0o600, 0)
	node("tty", ModeChar, 1, 0, 0o666, 0)
	node("mem", ModeChar, 2, 0, 0o640, 2)
	node("kmem", ModeChar, 2, 1, 0o640, 2)
	node("null", ModeChar, 2, 2, 0o666, 0)
	node("zero", ModeChar, 2, 12, 0o666, 0)
	node("klog", ModeChar, 7, 0, 0o600, 0)
	node("urandom", ModeChar, 45, 0, 0o644, 0)
	t.Symlink("dev/random", "urandom")
	node("ksyms", ModeChar, 50, 0, 0o640, 2)
	node("pf", ModeChar, 73, 0, 0o600, 0)
	node("ptm", ModeChar, 81, 0, 0o666, 0)
	node("diskmap", ModeChar, 90, 0, 0o640, 5)
	node("bpf", ModeChar, 23, 0, 0o600, 0)
	node("fuse0", ModeChar, 92, 0, 0o600, 0)
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		node(name, ModeChar, 22, uint32(i), 0o666, 0)
	}
	t.Dir("dev/fd", 0o555)
	for i := range uint32(64) {
		node(fmt.Sprintf("fd/%d", i), ModeChar, 22, i, 0o666, 0)
	}
	for _, d := range []struct {
		name         string
		units        uint32
		block, char_ uint32
	}{{"sd", 4, 4, 13}, {"wd", 2, 0, 3}, {"vnd", 2, 14, 41}} {
		for unit := range d.units {
			for part := range uint32(16) {
				name := fmt.Sprintf("%s%d%c", d.name, unit, 'a'+part)
				node(name, ModeBlock, d.block, unit*16+part, 0o640, 5)
				node("r"+name, ModeChar, d.char_, unit*16+part, 0o640, 5)
			}
		}
	}
	for i := range uint32(4) {
		node(fmt.Sprintf("tty0%d", i), ModeChar, 8, i, 0o660, 117)
		node(fmt.Sprintf("cua0%d", i), ModeChar, 8, i+128, 0o660, 117)
		node(fmt.Sprintf("ttyC%d", i), ModeChar, 12, i, 0o600, 0)
		node(fmt.Sprintf("tun%d", i), ModeChar, 40, i, 0o600, 0)
	}
	// A minor above 255, which the encoding keeps elsewhere.
	node("rsd20a", ModeChar, 13, 20*16, 0o640, 5)
}
