package audit

import (
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

var token = "ghp_" + strings.Repeat("Hunter2", 6)[:36]

var _ = addSamples(Linux,
	sample{
		rules: "machine-id-on-cmdline",
		bad:   files{"/boot/loader/entries/a.conf": text("options root=LABEL=x systemd.machine_id=" + oneID + " quiet\n")},
		good:  files{"/boot/loader/entries/a.conf": text("options systemd.machine_id=firmware\n"), "/etc/default/grub": text("# systemd.machine_id=" + oneID + "\n")},
	},
	sample{
		rules: "boot-entry-machine-id entry-token-machine-id",
		bad:   files{"/boot/efi/loader/entries/" + oneID + "-6.1.conf": text("machine-id " + oneID + "\n"), "/efi/" + oneID + "/6.1/linux": text("x"), "/etc/kernel/entry-token": text(oneID + "\n")},
		good:  files{"/boot/efi/loader/entries/debian-6.1.conf": text("title x\n"), "/etc/kernel/entry-token": text("debian\n")},
	},
	sample{rules: "machine-info-present", bad: files{"/etc/machine-info": text("PRETTY_HOSTNAME=\"HUNTER\"\n")}, good: files{"/etc/machine-info": text("ICON_NAME=computer\n")}},
	sample{
		rules: "image-id-missing image-version-missing",
		bad:   files{"/etc/os-release": text("ID=debian\n")},
		good:  files{"/etc/os-release": symlink("../usr/lib/os-release"), "/usr/lib/os-release": text("ID=debian\nIMAGE_ID=a\nIMAGE_VERSION='2'\n")},
	},
	sample{
		rules: "ike-key ike-secret wireguard-key snakeoil-key acme-account mesh-identity service-key kerberos-keytab samba-secrets directory-enrolment",
		bad: files{
			"/etc/ipsec.d/private/a.pem": private("HUNTER2"), "/etc/ipsec.secrets": private(": PSK \"HUNTER2\"\n"),
			"/etc/wireguard/wg0.conf": private("[Interface]\nPrivateKey = HUNTER2\n"), "/etc/ssl/private/ssl-cert-snakeoil.key": private(pemKey),
			"/etc/letsencrypt/live/a/privkey.pem": private(pemKey), "/var/lib/tailscale/tailscaled.state": private("HUNTER2"),
			"/etc/bind/rndc.key": private("HUNTER2"), "/etc/mysql/debian.cnf": private("[client]\npassword = HUNTER2\n"),
			"/etc/krb5.keytab": private("HUNTER2"), "/var/lib/samba/private/secrets.tdb": private("HUNTER2"), "/var/lib/sss/db/cache_a.ldb": private("HUNTER2"),
		},
		good: files{"/etc/ipsec.secrets": text("# : PSK x\n"), "/etc/wireguard/wg0.conf": text("[Interface]\n"), "/etc/bind/rndc.key": private(""), "/etc/mysql/debian.cnf": text("password =\n")},
	},
	sample{rules: "secret-file-mode", bad: files{"/etc/shadow": moded(0o644, "root:*:1::::::\n")}, good: files{"/etc/shadow": moded(0o640, "root:*:1::::::\n")}},
	sample{
		rules: "private-key",
		bad:   files{"/srv/app/key": private(pemKey), "/opt/age.txt": private("AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQHUNTER2\n"), "/etc/x.sec": private("untrusted comment: signify secret key\nRWRCSwAAAABHUNTER2xxxxxxxxxxx\n")},
		good:  files{"/srv/app/key.pub": text("-----BEGIN PUBLIC KEY-----\n"), "/usr/share/doc/key": text(pemKey), "/srv/app/tests/key": text(pemKey)},
		at:    "/srv/app/key",
	},
	sample{
		rules: "secret-in-config",
		bad:   files{"/opt/app/.env": text("TOKEN=" + token + "\n"), "/etc/a.conf": text("url = https://me:HUNTER2@example.net/\n")},
		good:  files{"/etc/a.conf": text("url = https://$USER:$PASSWORD@example.net/ https://example.net:8080/@x\n"), "/usr/bin/x": text(token)},
	},
	sample{
		rules: "hostname-set host-identity-echo mailname",
		bad:   files{"/etc/hostname": text("# c\nbuilder7.example.net\n"), "/etc/hosts": text("127.0.1.1 builder7\n"), "/etc/mailname": text("builder7.example.net\n")},
		good:  files{"/etc/hostname": text("localhost\n"), "/etc/mailname": text("")},
	},
	sample{rules: "hosts-entry", bad: files{"/etc/hosts": text("10.0.0.5 build\n")}, good: files{"/etc/hosts": text("127.0.0.1 localhost\n::1 localhost ip6-localhost\nff02::1 ip6-allnodes\n127.0.1.1 me\n# 10.0.0.5 x\n")}},
	sample{rules: "resolv-conf", bad: files{"/etc/resolv.conf": text("nameserver 10.0.0.1\n")}, good: files{"/etc/resolv.conf": symlink("../run/systemd/resolve/stub-resolv.conf")}},
	sample{
		rules: "dhcp-lease dhcp-duid nm-secret-key nm-connection wifi-secret ipv6-stable-secret",
		bad: files{
			"/var/lib/dhcp/dhclient.eth0.leases": text("lease { }\n"), "/var/lib/dhcpcd/duid": text("HUNTER2"), "/var/lib/NetworkManager/secret_key": private("HUNTER2"),
			"/etc/NetworkManager/system-connections/a.nmconnection": private("[wifi-security]\npsk=HUNTER2\n"), "/etc/wpa_supplicant/wpa_supplicant.conf": private("network={\n psk=\"HUNTER2\"\n}\n"),
			"/etc/sysctl.d/a.conf": text("net.ipv6.conf.default.stable_secret = HUNTER2\n"),
		},
		good: files{"/var/lib/dhcp/dhclient.eth0.leases": text(""), "/etc/wpa_supplicant/wpa_supplicant.conf": text("ctrl_interface=/run\n"), "/etc/sysctl.d/a.conf": text("# x.stable_secret = 1\n")},
	},
	sample{rules: "udev-persistent-net", bad: files{"/etc/udev/rules.d/70-persistent-net.rules": text("SUBSYSTEM==\"net\"\n")}, good: files{"/etc/udev/rules.d/70-persistent-net.rules": dir(0o755)}},
	sample{
		rules: "mac-binding iscsi-initiator nvme-hostid stale-device-cache bluetooth-pairing proxy-leftover zfs-hostid",
		bad: files{
			"/etc/systemd/network/a.link": text("[Match]\nMACAddress=00:11:22:33:44:55\n"), "/etc/iscsi/initiatorname.iscsi": private("InitiatorName=iqn.1993-08.org.debian:01:HUNTER2\n"),
			"/etc/nvme/hostid": text("HUNTER2\n"), "/etc/lvm/devices/system.devices": text("x"), "/var/lib/bluetooth/00:11:22:33:44:55/settings": text("x"),
			"/etc/apt/apt.conf.d/00proxy": text("Acquire::http::Proxy \"http://me:HUNTER2@proxy:3128\";\n"), "/etc/hostid": text("HUNT"),
		},
		good: files{"/etc/systemd/network/a.link": text("[Match]\nOriginalName=*\n"), "/etc/iscsi/initiatorname.iscsi": text("GenerateName=yes\n"), "/etc/nvme/hostid": text(""), "/etc/apt/apt.conf.d/00proxy": text("// none\n")},
	},
	sample{
		rules: "cloud-init-instance cloud-init-seed cloud-init-generated cloud-init-blocked cloud-agent-state subscription-identity orchestrator-identity cloud-credentials telemetry-id db-identity",
		bad: files{
			"/var/lib/cloud/instances/i-1/user-data.txt": text("HUNTER2"), "/var/lib/cloud/seed/nocloud/user-data": text("HUNTER2"), "/etc/netplan/50-cloud-init.yaml": text("network:\n"),
			"/etc/cloud/cloud-init.disabled": text(""), "/var/lib/waagent/provisioned": text("x"), "/etc/pki/consumer/key.pem": private("HUNTER2"), "/var/lib/kubelet/pki/kubelet.key": private("HUNTER2"),
			"/root/.aws/credentials": private("HUNTER2"), "/root/.docker/config.json": private("{\"auths\":{\"x\":{\"auth\":\"HUNTER2\"}}}"), "/etc/popularity-contest.conf": text("MY_HOSTID=\"abc\"\n"), "/var/lib/mysql/auto.cnf": text("server-uuid=x"),
		},
		good: files{"/var/lib/cloud/instances": dir(0o755), "/root/.docker/config.json": text("{}"), "/etc/popularity-contest.conf": text("MY_HOSTID=\"\"\n")},
	},
	sample{
		rules: "booted-evidence journal-files log-content login-records shell-history root-home-leftover editor-residue",
		bad: files{
			"/var/log/journal/" + oneID + "/system.journal": text("HUNTER2"), "/var/log/syslog.1": text("HUNTER2"), "/var/log/wtmp": text("x"),
			"/root/.bash_history": private("HUNTER2"), "/root/.wget-hsts": text("x"), "/etc/fstab~": text("x"), "/etc/a.dpkg-old": text("x"),
		},
		good: files{"/var/log/journal": dir(0o2755), "/var/log/syslog": text(""), "/var/log/wtmp": text(""), "/root/.bash_history": symlink("/dev/null"), "/root/.bashrc": text("x"), "/usr/share/x.bak": text("x")},
	},
	sample{
		rules: "core-dump", bad: files{"/srv/core.123": text("\x7fELF" + strings.Repeat("\x00", 12) + "\x04\x00HUNTER2"), "/var/lib/systemd/coredump/core.x.zst": text("x")},
		good: files{"/usr/lib/core": text("not a dump of memory, a word"), "/var/crash/minfree": text("2048")},
	},
	sample{
		rules: "installer-residue build-residue tmp-leftover tmp-mode mail-spool cron-spool package-cache",
		bad: files{
			"/root/anaconda-ks.cfg": private("rootpw HUNTER2\n"), "/usr/sbin/policy-rc.d": text("exit 101\n"), "/tmp": dir(0o755), "/tmp/x": text("x"), "/var/mail/root": text("HUNTER2"),
			"/var/spool/cron/crontabs/root": private("* * * * * HUNTER2\n"), "/var/cache/apt/archives/a.deb": text("x"),
		},
		good: files{"/tmp": dir(0o1777), "/tmp/.X11-unix": dir(0o1777), "/var/mail/root": text(""), "/var/spool/cron/crontabs": dir(0o1730), "/var/cache/apt/archives/lock": text("")},
	},
	sample{
		rules: "unowned-id",
		bad:   files{"/etc/passwd": text(goodPasswd), "/srv/x": {mode: vfs.Regular | 0o644, uid: 1234, text: "x"}},
		good:  files{"/etc/passwd": text(goodPasswd + "a:x:1234:1::/:/bin/false\n"), "/srv/x": {mode: vfs.Regular | 0o644, uid: 1234, text: "x"}},
		at:    "/srv/x",
	},
	sample{
		rules: "setuid-inventory world-writable device-node file-capability",
		bad: files{
			"/srv/su": moded(0o4755, "x"), "/srv/all": moded(0o666, "x"), "/srv/null": {mode: vfs.Char | 0o666}, "/usr/bin/ping": {mode: vfs.Regular | 0o755, text: "x", xattrs: map[string]string{"security.capability": "x"}},
		},
		good: files{"/srv/su": moded(0o4644, "x"), "/srv/drop": dir(0o1777), "/dev/null": {mode: vfs.Char | 0o666}},
	},
)

var _ = addSamples(OpenBSD,
	sample{rules: "obsd-soii-key ike-key", bad: files{"/etc/soii.key": private("HUNTER2"), "/etc/iked/private/local.key": private(pemKey)}, good: files{"/etc/soii.key": private(""), "/etc/iked/private": dir(0o700)}},
	sample{rules: "obsd-backups", bad: files{"/var/backups/etc_fstab.current": text("x")}, good: files{"/var/backups": dir(0o700)}},
	sample{
		rules: "obsd-passwd-db", bad: master("$2b$08$HUNTER2").with(files{"/etc/spwd.db": database("$2b$08$OTHER")}),
		good: master("$2b$08$HUNTER2").with(files{"/etc/spwd.db": database("$2b$08$HUNTER2")}),
	},
	sample{
		rules: "obsd-kernel-relink",
		bad:   files{"/bsd": private("kernel"), "/var/db/kernel.SHA256": text(strings.Repeat("0", 64) + "\n")},
		// printf kernel | sha256sum
		good: files{"/bsd": private("kernel"), "/var/db/kernel.SHA256": text("SHA256 (/bsd) = 6923dd1bc0460082c5d55a831908c24a282860b7f1cd6c2b79cf1bc8857c639c\n")},
	},
	sample{rules: "obsd-firsttime", bad: files{"/etc/rc.firsttime": text("export http_proxy=http://me:HUNTER2@proxy:80/\n")}, good: files{"/etc/rc.firsttime": text("fw_update\n")}},
	sample{rules: "resflash-build-leak", bad: files{"/resflash/BUILD": text("build command: build_resflash.sh 1906 /home/me/base\n")}, good: files{"/resflash/BUILD": text("build command: build_resflash.sh 1906\n")}},
	sample{rules: "wifi-secret wireguard-key mac-binding", bad: files{"/etc/hostname.iwm0": private("join home wpakey HUNTER2\nlladdr 00:11:22:33:44:55\n"), "/etc/hostname.wg0": private("wgkey HUNTER2\n")}, good: files{"/etc/hostname.iwm0": private("inet autoconf\n")}},
)

var _ = addSamples(FreeBSD,
	sample{rules: "fbsd-firstboot-missing fbsd-state", bad: files{"/etc/rc.conf": text("growfs_enable=\"YES\"\n"), "/boot/nextboot.conf": text("x")}, good: files{"/etc/rc.conf": text("growfs_enable=\"YES\"\n"), "/firstboot": text("")}},
	sample{rules: "machine-id-set zfs-hostid", bad: files{"/var/db/machine-id": text(oneID + "\n"), "/etc/hostid": text("c4e5f3a1-0000-0000-0000-HUNTER2\n")}},
)
