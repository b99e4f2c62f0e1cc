package testimage

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// usr adds libraries, manuals and data below /usr.
func usr(t Tree, opt Options) {
	for _, d := range []string{"include", "lib", "libdata", "libexec", "local", "mdec", "obj", "share", "src"} {
		t.Dir("usr/"+d, 0o755)
	}
	for _, d := range []string{"bin", "lib", "libexec", "sbin", "share"} {
		t.Dir("usr/local/"+d, 0o755)
	}
	for i, lib := range []string{"c.so.100.3", "crypto.so.55.1", "curses.so.15.0", "edit.so.6.1", "event.so.4.1", "m.so.10.1",
		"pthread.so.27.1", "ssl.so.58.1", "tls.so.31.1", "util.so.17.1", "z.so.7.1"} {
		t.File("usr/lib/lib"+lib, 0o444, stub(opt, lib, 60000+i*41111, 64)).GID = 7
		t.File("usr/lib/lib"+strings.SplitN(lib, ".", 2)[0]+".a", 0o444, append([]byte("!<arch>\n"), noise(opt.Seed^uint64(i), 9000+i*777)...)).GID = 7
	}
	for _, name := range []string{"ld.so", "getty", "sftp-server", "locate.updatedb", "reorder_kernel", "security"} {
		t.File("usr/libexec/"+name, 0o555, stub(opt, name, 20000, 64)).GID = 7
	}
	auth := t.File("usr/libexec/auth/login_passwd", 0o4555, stub(opt, "login_passwd", 18000, 64))
	auth.GID = 11
	t.File("usr/mdec/mbr", 0o444, masterBootRecord([4]slice{}))
	t.File("usr/mdec/biosboot", 0o444, stub(opt, "biosboot", 1400, 32))
	t.File("usr/mdec/boot", 0o555, stub(opt, "boot", 86000, 32))
	t.File("usr/mdec/BOOTX64.EFI", 0o444, peStub(opt.Seed^2, 139264))
	t.File("usr/mdec/BOOTIA32.EFI", 0o444, peStub(opt.Seed^3, 114688))

	rng := rand.New(rand.NewPCG(opt.Seed, 8))
	words := strings.Fields("the system file option argument default value device partition is of to a and in with read written used when if not must may disk label boot")
	prose := func(lines int) string {
		var b strings.Builder
		for range lines {
			for range 9 {
				b.WriteString(words[rng.IntN(len(words))])
				b.WriteByte(' ')
			}
			b.WriteByte('\n')
		}
		return b.String()
	}
	for _, dir := range []string{"bin", "sbin"} { // in this order: prose draws on one source
		section := 1
		if dir == "sbin" {
			section = 8
		}
		for _, name := range strings.Fields(programNames[dir]) {
			page := fmt.Sprintf(".Dd October 9, 2024\n.Dt %s %d\n.Os\n.Sh NAME\n.Nm %s\n.Nd made up for this image\n.Sh DESCRIPTION\n", strings.ToUpper(name), section, name)
			t.File(fmt.Sprintf("usr/share/man/man%d/%s.%d", section, name, section), 0o444, []byte(page+prose(len(name)*12))).GID = 7
		}
	}
	for _, zone := range []string{"UTC", "Europe/Berlin", "Europe/London", "America/New_York", "Asia/Tokyo"} {
		t.File("usr/share/zoneinfo/"+zone, 0o444, append([]byte("TZif2"), noise(uint64(len(zone)), 900)...)).GID = 7
	}
	t.File("usr/share/misc/termcap", 0o444, []byte("vt220|dec vt220:\\\n\t:am:co#80:li#24:\n"+prose(3000)))
	t.File("usr/share/misc/license.template", 0o444, []byte(prose(12)))
	t.File("usr/share/dict/words", 0o444, []byte(prose(9000)))
	// A table with gaps: most of its blocks were never written.
	table := make([]byte, 3<<20)
	copy(table, "index")
	copy(table[1<<20:], "middle")
	copy(table[len(table)-3:], "end")
	t.Set("usr/share/misc/sparse.db", &Node{Mode: ModeRegular | 0o644, Data: table, Holes: true})
}

// variable adds /var.
func variable(t Tree, opt Options) {
	for _, d := range []string{"account", "audit", "backups", "cache", "crash", "cron/tabs", "db/pkg", "games", "log", "mail", "msgs",
		"preserve", "run", "rwho", "spool", "sysmerge", "syspatch", "unbound/db", "unbound/etc", "www/htdocs", "yp"} {
		t.Dir("var/"+d, 0o755)
	}
	t["var/backups"].Mode = ModeDir | 0o700
	t["var/cron/tabs"].Mode, t["var/cron/tabs"].GID = ModeDir|0o1730, 66
	t.Dir("var/empty", 0o555)
	t.Dir("var/tmp", 0o1777)
	for name, perm := range map[string]uint32{"messages": 0o644, "wtmp": 0o644, "lastlog": 0o644, "authlog": 0o640, "daemon": 0o640,
		"maillog": 0o640, "xferlog": 0o640, "secure": 0o600, "failedlogin": 0o600} {
		t.File("var/log/"+name, perm, nil)
	}
	t.Set("var/db/host.random", &Node{Mode: ModeRegular | 0o600, Data: noise(opt.Seed^6, 65536)})
	t.Set("var/db/kernel.SHA256", &Node{Mode: ModeRegular | 0o600, Data: []byte("SHA256 (/bsd) = " + strings.Repeat("0", 64) + "\n")})
	t.Text("var/cron/tabs/root", 0o600, "0 * * * * -n /usr/bin/newsyslog", "30 1 * * * -ns /bin/sh /etc/daily")
	t.Text("var/www/htdocs/index.html", 0o644, "<!DOCTYPE html>", "<title>It works</title>")
	t.Set("var/run/log.socket", &Node{Mode: ModeSocket | 0o666})
	t.Set("var/spool/output.fifo", &Node{Mode: ModeFIFO | 0o600})
	for _, pkg := range []string{"amd-firmware-20240909", "intel-firmware-20240910v0", "quirks-7.50", "rsync-3.3.0"} {
		t.Text("var/db/pkg/"+pkg+"/+CONTENTS", 0o644, "@name "+pkg, "@arch "+opt.Arch)
		t.Text("var/db/pkg/"+pkg+"/+DESC", 0o644, "A package that is not installed here.")
	}
	for i := range 40 {
		t.Text(fmt.Sprintf("etc/firmware/fw-%02d.bin", i), 0o644, strings.Repeat("firmware ", 40*(i+1)))
	}
}
