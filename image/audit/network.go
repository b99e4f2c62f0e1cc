package audit

import (
	"regexp"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

var networkFamily = family{
	name: "network", title: "Network and devices",
	checks: []check{
		{rules: []*Rule{hostnameSet, hostIdentityEcho}, look: lookHostname},
		{rules: []*Rule{hostsEntry}, look: lookHosts},
		{rules: []*Rule{resolvConf}, look: lookResolvConf},
		present(mailname, "a mail name", "/etc/mailname"),
		present(dhcpLease, "leases", "/var/lib/{dhcp,dhclient,dhcpcd,dhcpd}/*lease*", "/var/lib/NetworkManager/{*.lease,internal-*}", "/var/lib/systemd/network/leases/*",
			"/run/systemd/netif/leases/*", "/var/db/dhclient.leases.*", "/var/db/dhcpleased/*", "/var/db/dhcp6leased/[!u]*"),
		secrets(dhcpDUID, "identifier", "/var/lib/dhcpcd/{duid,secret}", "/etc/dhcpcd.duid", "/var/db/dhcpcd/{duid,secret}", "/var/db/dhcp6leased/uuid", "/var/db/dhcp6c_duid"),
		matching(dhcpDUID, pattern{files: []string{"/var/lib/{dhcp,dhclient}/*6*.leases"}, line: lazyregexp.New(`^default-duid `), message: "a DUID", hidden: true},
			pattern{files: []string{"/etc/systemd/networkd.conf", "/etc/systemd/networkd.conf.d/*.conf", "/etc/systemd/network/*.network"}, comment: "#;", line: lazyregexp.New(`^DUIDRawData=\S`), message: "a DUID", hidden: true}),
		secrets(nmSecretKey, "key", "/var/lib/NetworkManager/secret_key"),
		matching(nmConnection,
			pattern{files: []string{"/etc/NetworkManager/system-connections/*"}, comment: "#", line: lazyregexp.New(`^(psk|password|private-key-password|leap-password|wep-key[0-9]|pin)\s*=\s*\S`), message: "a password of a network", hidden: true, worse: Error},
			pattern{files: []string{"/etc/NetworkManager/system-connections/*"}, comment: "#", line: lazyregexp.New(`^(mac-address|cloned-mac-address)\s*=\s*([0-9A-Fa-f]{2}:){5}`), message: "bound to a network card"},
			pattern{files: []string{"/etc/NetworkManager/system-connections/*"}, comment: "#", line: lazyregexp.New(`^uuid\s*=\s*\S`), message: "a connection with a UUID of its own"}),
		matching(wifiSecret,
			pattern{files: []string{"/etc/wpa_supplicant/*.conf", "/etc/wpa_supplicant.conf"}, comment: "#", line: lazyregexp.New(`^(psk|password|wep_key[0-9]|sae_password)\s*=\s*\S`), message: "a password of a wireless network", hidden: true},
			pattern{files: []string{"/var/lib/iwd/*.{psk,8021x}"}, comment: "#", line: lazyregexp.New(`(?i)^(PreSharedKey|Passphrase|.*Password)\s*=\s*\S`), message: "a password of a wireless network", hidden: true},
			pattern{files: []string{"/etc/hostname.*"}, comment: "#", line: lazyregexp.New(`\b(wpakey|nwkey)\s+\S`), message: "a password of a wireless network", hidden: true},
			pattern{files: []string{"/etc/netplan/*.yaml"}, comment: "#", line: lazyregexp.New(`^(- )?"?password"?:\s*\S`), message: "a password of a wireless network", hidden: true}),
		matching(ipv6StableSecret, pattern{files: []string{"/etc/sysctl.conf", "/etc/sysctl.d/*.conf"}, comment: "#;", line: lazyregexp.New(`\.stable_secret\s*=\s*\S`), message: "a secret for stable addresses", hidden: true}),
		secrets(soiiKey, "key", "/etc/soii.key"),
		{rules: []*Rule{udevPersistentNet}, look: lookUdevNet},
		matching(macBinding,
			pattern{files: []string{"/etc/systemd/network/*.link"}, comment: "#;", line: lazyregexp.New(`^(PermanentMACAddress|MACAddress)=([0-9A-Fa-f]{2}[:.-])`), message: "bound to a network card"},
			pattern{files: []string{"/etc/sysconfig/network-scripts/ifcfg-*"}, comment: "#", line: lazyregexp.New(`^(HWADDR|MACADDR|UUID)=\S`), message: "bound to a network card"},
			pattern{files: []string{"/etc/network/interfaces", "/etc/network/interfaces.d/*"}, comment: "#", line: lazyregexp.New(`^hwaddress\s+\S`), message: "bound to a network card"},
			pattern{files: []string{"/etc/netplan/*.yaml"}, comment: "#", line: lazyregexp.New(`^macaddress:\s*\S`), message: "bound to a network card"},
			pattern{files: []string{"/etc/hostname.*"}, comment: "#", line: lazyregexp.New(`^lladdr\s+([0-9a-f]{2}:)`), message: "sets a hardware address"}),
		matching(iscsiInitiator, pattern{files: []string{"/etc/iscsi/initiatorname.iscsi"}, comment: "#", line: lazyregexp.New(`^InitiatorName=\S`), message: "a name of its own", unique: "initiator name", decide: (*scan).initiatorName}),
		secretsIf(nvmeHostID, "identifier", (*scan).nvmeHost, "/etc/nvme/{hostid,hostnqn}"),
		presentIf(staleDeviceCache, "names devices of the build host", (*scan).deviceCache, "/etc/lvm/devices/system.devices", "/etc/multipath/{bindings,wwids}", "/etc/blkid.tab", "/etc/blkid/blkid.tab", "/etc/zfs/zpool.cache", "/boot/zfs/zpool.cache", "/run/blkid/blkid.tab"),
		entries(bluetoothPairing, "an adapter of the build host", nil, "/var/lib/bluetooth/*:*:*:*:*:*"),
		matching(proxyLeftover,
			pattern{files: proxyFiles, comment: "#;/", line: lazyregexp.New(`(?i)proxy\S*\s*[=:]?\s*"?[a-z]+://[^\s/:@]+:[^\s/@]+@`), message: "a proxy with user and password", hidden: true, worse: Error},
			pattern{files: proxyFiles, comment: "#;/", line: lazyregexp.New(`(?i)(^|[^a-z_])(https?_|ftp_|all_)?(proxy|Acquire::https?::Proxy)["']?\s*[=: ]\s*["']?[a-z]+://`), message: "a proxy"}),
		{rules: []*Rule{zfsHostID}, look: lookHostID},
	},
}

var proxyFiles = []string{
	"/etc/apt/apt.conf", "/etc/apt/apt.conf.d/*", "/etc/{dnf/dnf.conf,yum.conf,environment,pip.conf,wgetrc,profile}", "/etc/profile.d/*proxy*",
	"/etc/systemd/system/{docker,containerd}.service.d/*.conf", "/root/{.bashrc,.profile,.wgetrc,.curlrc,.pip/pip.conf}", "/etc/rc.firsttime",
}

var (
	hostnameSet = &Rule{
		ID: "hostname-set", Title: "a host name is set",
		Systems: Any, Severity: Warning, Profiles: map[Profile]Severity{Appliance: Info},
		Reason:   "All machines have the same name, often that of the build host.",
		Evidence: "/etc/hostname, /etc/myname, hostname= in rc.conf, HOSTNAME= in /etc/sysconfig/network; localhost, the names of the system and templates with ? are fine",
		Fix:      safe(Remove, "remove it, or write localhost"), Reference: "hostname(5), myname(5)",
	}
	hostIdentityEcho = &Rule{
		ID: "host-identity-echo", Title: "the host name is in further files",
		Systems: Any, Severity: Info,
		Reason:   "A name that is taken out of one file stays in the others.",
		Evidence: "the name just found in hosts, mailname, the configuration of exim and postfix, motd, comments of public host keys",
		Fix:      report("edit the files that are named"),
	}
	hostsEntry = &Rule{
		ID: "hosts-entry", Title: "hosts has entries of a network",
		Systems: Any, Severity: Warning, Profiles: map[Profile]Severity{Appliance: Info},
		Reason:   "Names of the builder's network go with the image, and answer wrongly elsewhere.",
		Evidence: "/etc/hosts, all but loopback, the multicast names of IPv6 and the machine's own name",
		Fix:      report("remove the lines"), Reference: "hosts(5)",
	}
	resolvConf = &Rule{
		ID: "resolv-conf", Title: "name servers of the build are set",
		Systems: Any, Severity: Warning, Profiles: map[Profile]Severity{Appliance: Info},
		Reason:   "Machines ask servers that they cannot reach, or that answer for another network.",
		Evidence: "nameserver lines of /etc/resolv.conf, if it is a regular file",
		Fix:      provided("a resolver or DHCP client of the system writes it", Truncate, "empty it"), Reference: "resolv.conf(5)",
	}
	mailname = &Rule{
		ID: "mailname", Title: "a mail name is set",
		Systems: Linux, Severity: Warning,
		Reason:   "Mail from every machine comes from the build host's name.",
		Evidence: "/etc/mailname",
		Fix:      safe(Remove, "remove it"), Reference: "mailname(5)",
	}
	dhcpLease = &Rule{
		ID: "dhcp-lease", Title: "leases of the build's network are stored",
		Systems: Any, Severity: Warning,
		Reason:   "Machines ask for an address of another network, all for the same.",
		Evidence: "lease files of dhclient, dhcpcd, NetworkManager, systemd-networkd, dhcpleased",
		Fix:      safe(Remove, "remove them"),
	}
	dhcpDUID = &Rule{
		ID: "dhcp-duid", Title: "a DHCP identifier is stored",
		Systems: Any, Severity: Error,
		Reason:   "Servers take all machines for one and give them the same address.",
		Evidence: "duid and secret of dhcpcd, default-duid in leases, DUIDRawData=, uuid of dhcp6leased",
		Fix:      safe(Remove, "remove it: it is made anew"), Reference: "RFC 8415",
	}
	nmSecretKey = &Rule{
		ID: "nm-secret-key", Title: "NetworkManager's secret key is stored",
		Systems: Linux, Severity: Error,
		Reason:   "Stable addresses and identifiers are made from it: they collide, and can be foretold.",
		Evidence: "/var/lib/NetworkManager/secret_key",
		Fix:      safe(Remove, "remove it: it is made anew"), Reference: "NetworkManager(8)",
	}
	nmConnection = &Rule{
		ID: "nm-connection", Title: "a connection of NetworkManager is stored",
		Systems: Linux, Severity: Warning, Profiles: map[Profile]Severity{Appliance: Info},
		Reason:   "Passwords of networks go with the image, and connections are bound to the builder's network card.",
		Evidence: "/etc/NetworkManager/system-connections: passwords, hardware addresses, UUIDs",
		Fix:      optIn(Remove, "remove the connection"), Reference: "nm-settings-keyfile(5)",
	}
	wifiSecret = &Rule{
		ID: "wifi-secret", Title: "a password of a wireless network is stored",
		Systems: Any, Severity: Error,
		Reason:   "Who has the image gets into the network.",
		Evidence: "wpa_supplicant, iwd, netplan, hostname.* of OpenBSD",
		Fix:      report("hand it to each machine instead"),
	}
	ipv6StableSecret = &Rule{
		ID: "ipv6-stable-secret", Title: "the secret of stable IPv6 addresses is set",
		Systems: Linux, Severity: Error,
		Reason:   "Machines in one network get the same interface identifiers, which can be foretold.",
		Evidence: "stable_secret in sysctl.conf and sysctl.d",
		Fix:      safe(Edit, "remove the line"), Reference: "RFC 7217",
	}
	soiiKey = &Rule{
		ID: "obsd-soii-key", Title: "OpenBSD's key of stable IPv6 addresses is stored",
		Systems: OpenBSD, Severity: Error,
		Reason:   "Machines in one network get the same interface identifiers, which can be foretold.",
		Evidence: "/etc/soii.key",
		Fix:      safe(Remove, "remove it: rc makes a new one"), Reference: "rc(8), RFC 7217",
	}
	udevPersistentNet = &Rule{
		ID: "udev-persistent-net", Title: "names of network cards are bound to hardware",
		Systems: Linux, Severity: Warning,
		Reason:   "On other hardware the card gets another name, and no configuration.",
		Evidence: "70-persistent-net.rules and 75-persistent-net-generator.rules with rules in them; a directory or an empty file of that name is the known trick",
		Fix:      safe(Remove, "remove it"), Reference: "udev(7)",
	}
	macBinding = &Rule{
		ID: "mac-binding", Title: "the configuration is bound to a network card",
		Systems: Any, Severity: Warning,
		Reason:   "It matches nothing on other hardware, or gives every machine the same hardware address.",
		Evidence: ".link files, ifcfg, interfaces, netplan, lladdr in hostname.*",
		Fix:      optIn(Edit, "remove the line"),
	}
	iscsiInitiator = &Rule{
		ID: "iscsi-initiator", Title: "an iSCSI initiator name is stored",
		Systems: Linux, Severity: Error,
		Reason:   "Targets take all machines for one: they get at each other's disks.",
		Evidence: "InitiatorName= in /etc/iscsi/initiatorname.iscsi; GenerateName=yes is fine",
		Fix:      provided("the system's start makes a name of GenerateName=yes", Write, "write GenerateName=yes (the daemon does not start without the file)"), Reference: "iscsid(8)",
	}
	nvmeHostID = &Rule{
		ID: "nvme-hostid", Title: "an NVMe host identifier is stored",
		Systems: Linux, Severity: Error,
		Reason:   "Controllers take all machines for one host.",
		Evidence: "/etc/nvme/hostid and hostnqn",
		Fix:      provided("something makes them at the first boot; on Debian only the package's installation does", Remove, "remove them"), Reference: "nvme-gen-hostnqn(1)",
	}
	staleDeviceCache = &Rule{
		ID: "stale-device-cache", Title: "devices of the build host are recorded",
		Systems: Any, Severity: Warning,
		Reason:   "Volume groups, pools and paths are looked for on disks that are not there.",
		Evidence: "devices file of LVM, bindings of multipath, blkid.tab, zpool.cache",
		Fix:      provided("nothing that boots refers to it", Remove, "remove it"),
	}
	bluetoothPairing = &Rule{
		ID: "bluetooth-pairing", Title: "Bluetooth pairings are stored",
		Systems: Linux, Severity: Warning,
		Reason:   "Link keys of the builder's devices go with the image.",
		Evidence: "/var/lib/bluetooth/*",
		Fix:      safe(Remove, "remove them"),
	}
	proxyLeftover = &Rule{
		ID: "proxy-leftover", Title: "a proxy of the build is set",
		Systems: Any, Severity: Warning,
		Reason:   "Machines elsewhere cannot reach it: updates fail. One with a password tells it to everybody.",
		Evidence: "apt, dnf, pip, wget, environment, drop-ins of docker and containerd, rc.firsttime",
		Fix:      report("remove the lines"),
	}
	zfsHostID = &Rule{
		ID: "zfs-hostid", Title: "a host ID is stored",
		Systems: Linux | FreeBSD, Severity: Warning,
		Reason:   "Pools are protected from being used twice by it; two machines with one ID are not kept apart. FreeBSD derives more from it.",
		Evidence: "/etc/hostid",
		Fix:      provided("no pool in the image names it", Remove, "remove it: it is made anew"), Reference: "zgenhostid(8), hostid in rc.conf(5)",
	}
)

// hostname returns the name that is set, if it is one of a machine.
func (s *scan) hostname() (name string, f *file, n int) {
	fine := []string{"", "localhost", "localhost.localdomain", "(none)", "amnesiac", "debian", "linux"}
	if s.installed != nil {
		fine = append(fine, s.installed.OS.ID, s.installed.OS.ImageID)
	}
	own := func(name string) bool {
		return !slices.Contains(fine, strings.ToLower(name)) && !strings.Contains(name, "?") && !strings.Contains(name, "$")
	}
	for _, name := range []string{"/etc/hostname", "/etc/HOSTNAME", "/etc/myname"} {
		if f := s.stat(name); f != nil && f.isRegular() {
			for n, l := range lines(s.text(f), "#") {
				if own(l) {
					return l, f, n
				}
				break
			}
		}
	}
	for _, c := range []struct{ file, key string }{{"/etc/rc.conf", "hostname="}, {"/etc/rc.conf.local", "hostname="}, {"/etc/sysconfig/network", "HOSTNAME="}, {"/etc/conf.d/hostname", "hostname="}} {
		if f := s.stat(c.file); f != nil && f.isRegular() {
			for n, l := range lines(s.text(f), "#") {
				if v, ok := strings.CutPrefix(l, c.key); ok && own(strings.Trim(v, `"'`)) {
					return strings.Trim(v, `"'`), f, n
				}
			}
		}
	}
	return "", nil, 0
}

// plainName is what host names are made of.
var plainName = lazyregexp.New(`^[0-9A-Za-z][0-9A-Za-z_-]{0,62}$`)

func lookHostname(s *scan) {
	name, f, n := s.hostname()
	if f == nil {
		return
	}
	s.found(hostnameSet, f, "a name is set", known(name), line(n))
	// A short name is in many words.
	short, _, _ := strings.Cut(name, ".")
	if len(short) < 3 || !plainName.MatchString(short) {
		return
	}
	whole := regexp.MustCompile(`(^|[^0-9A-Za-z_-])` + regexp.QuoteMeta(short) + `($|[^0-9A-Za-z_-])`)
	for _, g := range s.files("/etc/{hosts,mailname,motd,issue,exim4/update-exim4.conf.conf,postfix/main.cf}", "/etc/ssh/ssh_host_*_key.pub", "/etc/mail/{smtpd.conf,aliases}") {
		for n, l := range lines(s.text(g), "") {
			if whole.MatchString(l) {
				s.found(hostIdentityEcho, g, "the name again", known(name), line(n))
				break
			}
		}
	}
}

func lookHosts(s *scan) {
	f := s.stat("/etc/hosts")
	if f == nil {
		return
	}
	name, _, _ := s.hostname()
	short, _, _ := strings.Cut(name, ".")
	for n, l := range lines(s.text(f), "#") {
		w := strings.Fields(l)
		switch {
		case len(w) < 2, w[0] == "::1", strings.HasPrefix(w[0], "127.0.0."), strings.HasPrefix(w[0], "ff0"), strings.HasPrefix(w[0], "fe00"), w[0] == "255.255.255.255":
			continue
		case strings.HasPrefix(w[0], "127.") && (short == "" || strings.HasPrefix(w[1], short)):
			continue
		}
		s.found(hostsEntry, f, "an entry of a network", line(n))
	}
}

func lookResolvConf(s *scan) {
	f := s.link("/etc/resolv.conf")
	if f == nil || !f.isRegular() {
		return
	}
	for n, l := range lines(s.text(f), "#;") {
		if w := strings.Fields(l); len(w) > 1 && w[0] == "nameserver" && !strings.HasPrefix(w[1], "127.") && w[1] != "::1" {
			s.found(resolvConf, f, "a name server", shown("%s", w[1]), line(n), s.resolver())
		}
	}
}

func lookUdevNet(s *scan) {
	for _, f := range s.links("/etc/udev/rules.d/{70-persistent-net,70-persistent-cd,75-persistent-net-generator,75-cd-aliases-generator}.rules") {
		for n := range lines(s.text(f), "#") {
			s.found(udevPersistentNet, f, "a rule for a device of the build host", line(n))
			break
		}
	}
}

func lookHostID(s *scan) {
	f := s.link("/etc/hostid")
	if !f.filled() {
		return
	}
	if b, ok := s.head(f, 64); ok {
		s.found(zfsHostID, f, "an identifier", secret("host ID", b), s.noVolume("ZFS"))
	}
}
