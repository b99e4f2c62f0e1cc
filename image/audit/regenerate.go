package audit

import (
	"slices"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// The conditions of fixes are decided here, by what the image itself says: what
// is removed must be made again by something, or be needed by nobody.

// holds says whether the condition of the fix holds, and why.
func holds(ok bool, format string, args ...any) detail {
	return func(f *Finding) {
		verdict := "the condition does not hold: "
		if ok {
			verdict = "the condition holds: "
		}
		note(verdict+format, args...)(f)
		f.Fixable = &ok
	}
}

// undecided says that the image alone cannot tell.
func undecided(format string, args ...any) detail { return note("not decided: "+format, args...) }

// makes is a verdict about something that the boot makes anew, or does not.
func (s *scan) makes(command *lazyregexp.Regexp, what string) detail {
	if by := s.starts(command); by != nil {
		return holds(true, "%s makes %s", by.path, what)
	}
	return holds(false, "nothing that the boot runs makes %s", what)
}

// AtFirstBoot ends the note of a finding whose fix relies on what runs at the
// first boot only: an empty machine ID is none.
const AtFirstBoot = "at the first boot (ConditionFirstBoot)"

// What in commands and scripts makes secrets and names.
var (
	keygen = lazyregexp.New(`ssh-keygen +(.*-A\b|-A\b)|sshd-keygen|dpkg-reconfigure +(-\S+ +)*openssh-server|\bdropbearkey\b`)
	// rcKeygen is how /etc/rc.d/sshd of FreeBSD and NetBSD says it.
	rcKeygen     = lazyregexp.New(`keygen`)
	ikeKeygen    = lazyregexp.New(`private/local\.key`)
	snakeoilCert = lazyregexp.New(`make-ssl-cert +.*generate-default-snakeoil|dpkg-reconfigure.*ssl-cert`)
	iscsiName    = lazyregexp.New(`GenerateName|iscsi-name|iscsi-gen-initiatorname`)
	nvmeName     = lazyregexp.New(`nvme +gen-hostnqn|nvme +show-hostnqn|dpkg-reconfigure.*nvme-cli`)
	resolvd      = lazyregexp.New(`\bresolvd\b`)
	dhcp         = lazyregexp.New(`\bdhcp\b|(?i)="?(SYNC)?DHCP`)

	anything = lazyregexp.New(`\S`)
)

// regenerator says what in the image makes SSH host keys at boot, by what its
// files say; empty if nothing does.
func (s *scan) regenerator() string {
	switch {
	case s.systems == OpenBSD:
		if hasLine(s.read("/etc/rc"), keygen) {
			return "/etc/rc makes new keys at boot"
		}
		return ""
	case s.systems == FreeBSD || s.systems == NetBSD:
		if hasLine(s.read("/etc/rc.d/sshd"), rcKeygen) {
			return "/etc/rc.d/sshd makes new keys"
		}
		return ""
	}
	if by, first := s.startsWhen(keygen); by != nil {
		if first {
			return by.path + " makes new keys " + AtFirstBoot
		}
		return by.path + " makes new keys"
	}
	return s.cloudInitKeys()
}

// cloudInitKeys says that cloud-init makes host keys, if it is installed, not
// kept from running, and has its module for them.
func (s *scan) cloudInitKeys() string {
	if !s.exists("/usr/bin/cloud-init", "/usr/local/bin/cloud-init") || s.exists("/etc/cloud/cloud-init.disabled") {
		return ""
	}
	// A later file replaces a list of an earlier one.
	modules, by := []string(nil), ""
	for _, f := range s.files("/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/*.cfg") {
		if list := yamlList(s.text(f), "cloud_init_modules"); list != nil {
			modules, by = list, f.path
		}
	}
	if slices.Contains(modules, "ssh") {
		return "cloud-init makes new keys for each instance (" + by + ")"
	}
	return ""
}

// yamlList returns the words of a list at the top of a YAML document; nil if
// it is not there. Of a list in an element ("- [ssh, always]") the first word
// counts.
func yamlList(text, key string) []string {
	var list []string
	in := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case strings.HasPrefix(trimmed, "-"):
			if in {
				word, _, _ := strings.Cut(strings.Trim(trimmed[1:], " []"), ",")
				list = append(list, strings.Trim(word, ` "'`))
			}
		case line[0] != ' ' && line[0] != '\t':
			name, rest, _ := strings.Cut(trimmed, ":")
			if in = name == key; !in {
				continue
			}
			list = []string{}
			for word := range strings.SplitSeq(strings.Trim(strings.TrimSpace(rest), "[]"), ",") {
				if word = strings.Trim(word, ` "'`); word != "" {
					list = append(list, word)
				}
			}
		}
	}
	return list
}

// remakers are the secrets of services that come back, and by what. A service
// that makes its own needs no command.
var remakers = []struct {
	file    *lazyregexp.Regexp
	command *lazyregexp.Regexp
	itself  string
}{
	{lazyregexp.New(`rndc\.key$`), lazyregexp.New(`rndc-confgen`), ""},
	{lazyregexp.New(`/unbound_(server|control)\.key$`), lazyregexp.New(`unbound-control-setup`), ""},
	{lazyregexp.New(`/nsd_(server|control)\.key$`), lazyregexp.New(`nsd-control-setup`), ""},
	{lazyregexp.New(`/xrdp/`), lazyregexp.New(`xrdp-keygen|dpkg-reconfigure.*xrdp`), ""},
	{lazyregexp.New(`munge\.key$`), lazyregexp.New(`mungekey|create-munge-key`), ""},
	{lazyregexp.New(`/ejabberd\.pem$`), lazyregexp.New(`dpkg-reconfigure.*ejabberd`), ""},
	{lazyregexp.New(`\.erlang\.cookie$`), nil, "Erlang makes a new cookie when a node starts without one"},
	{lazyregexp.New(`/salt/pki/`), nil, "Salt makes new keys at its start"},
	{lazyregexp.New(`/puppet.*/ssl/private_keys/`), nil, "Puppet makes a new key and has it signed"},
	{lazyregexp.New(`/var/lib/tor/`), nil, "Tor makes new keys at its start"},
	{lazyregexp.New(`/var/lib/mysql/`), nil, "MySQL makes new certificates at its start"},
}

// serviceKey decides about the secret of a service.
func (s *scan) serviceKey(f *file) detail {
	for _, r := range remakers {
		switch {
		case !r.file.MatchString(f.path):
		case r.command != nil:
			return s.makes(r.command, "a new one")
		default:
			return holds(true, "%s", r.itself)
		}
	}
	return holds(false, "it was made when the package was installed, and nothing makes a new one")
}

// ikeKey decides about a private key of IPsec.
func (s *scan) ikeKey(f *file) detail {
	if strings.HasSuffix(f.path, "/private/local.key") && s.systems == OpenBSD {
		return s.makes(ikeKeygen, "a new key")
	}
	return holds(false, "strongSwan makes no key of its own")
}

// snakeoil decides about the key of ssl-cert.
func (s *scan) snakeoil(*file) detail {
	return s.makes(snakeoilCert, "a new key")
}

// initiatorName decides whether the start of iSCSI makes a name.
func (s *scan) initiatorName(*file) detail {
	return s.makes(iscsiName, "a name of GenerateName=yes")
}

// nvmeHost decides about the names of an NVMe host.
func (s *scan) nvmeHost(*file) detail {
	if by := s.starts(nvmeName); by != nil {
		return holds(true, "%s makes new ones", by.path)
	}
	for _, f := range s.files("/etc/nvme/discovery.conf", "/etc/nvme/config.json") {
		if hasLine(s.text(f), anything) {
			return holds(false, "%s connects to controllers, and nothing makes new ones", f.path)
		}
	}
	return holds(true, "nothing in the image connects to controllers: /etc/nvme/discovery.conf has no line")
}

// agentState decides about the state of a cloud's agent.
func (s *scan) agentState(f *file) detail {
	if strings.HasPrefix(f.path, "/var/lib/waagent/") {
		return holds(true, "the agent of Azure registers at its start, as after waagent -deprovision")
	}
	if strings.Contains(f.path, "google") {
		return holds(true, "the guest agent of Google finds out where it runs at its start")
	}
	return undecided("whether the agent can register anew is known to the cloud alone")
}

// clusterNode decides about the identity of a node.
func (s *scan) clusterNode(f *file) detail {
	if f.path == "/var/lib/docker/engine-id" || f.path == "/etc/docker/key.json" {
		return holds(true, "the daemon of Docker makes a new one at its start")
	}
	return undecided("whether the node can join anew is known to the cluster alone")
}

// resolver decides whether something writes resolv.conf.
func (s *scan) resolver() detail {
	if s.systems == OpenBSD {
		for _, l := range lines(s.read("/etc/rc.conf.local"), "#") {
			if name, value, _ := strings.Cut(l, "="); name == "resolvd_flags" && strings.Trim(value, `"' `) == "NO" {
				return holds(false, "resolvd is off in /etc/rc.conf.local")
			}
		}
		if hasLine(s.read("/etc/rc"), resolvd) {
			return holds(true, "resolvd writes it")
		}
		return holds(false, "nothing was found that would write it")
	}
	for _, name := range []string{"systemd-resolved", "NetworkManager", "dhcpcd", "connman", "wicked", "resolvconf", "cloud-init"} {
		if s.runs(name, name+".service") {
			return holds(true, "%s writes it", name)
		}
	}
	if s.exists("/sbin/dhclient", "/usr/sbin/dhclient", "/sbin/dhcpcd", "/usr/sbin/dhcpcd", "/sbin/udhcpc") {
		for _, f := range s.files("/etc/network/interfaces", "/etc/network/interfaces.d/*", "/etc/rc.conf", "/etc/rc.conf.local") {
			if hasLine(s.text(f), dhcp) {
				return holds(true, "the DHCP client writes it (%s)", f.path)
			}
		}
	}
	return holds(false, "nothing was found that would write it")
}

// deviceCache decides about records of devices: nothing in the image may be
// one of them.
func (s *scan) deviceCache(f *file) detail {
	switch {
	case strings.Contains(f.path, "blkid"):
		return holds(true, "it is a cache, and made anew")
	case strings.Contains(f.path, "zfs"):
		return s.noVolume("ZFS")
	case strings.Contains(f.path, "lvm"):
		return s.noVolume("LVM2 physical volume")
	}
	for _, l := range s.fstab() {
		if strings.HasPrefix(l.spec, "/dev/mapper/") {
			return holds(false, "fstab mounts %s", l.spec)
		}
	}
	return holds(true, "fstab mounts nothing by /dev/mapper")
}

// noVolume holds if no volume of the disk is of a kind.
func (s *scan) noVolume(kind string) detail {
	for _, v := range s.audit.target.Volumes {
		if v.Partition != nil && v.Partition.Content.Type == kind {
			return holds(false, "volume %s is %s", v.ID, kind)
		}
	}
	return holds(true, "no volume of the image is %s", kind)
}
