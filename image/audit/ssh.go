package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

var sshFamily = family{
	name: "ssh", title: "SSH",
	checks: []check{
		{rules: []*Rule{sshHostKey, sshHostKeyEmpty}, look: lookHostKeys},
		{rules: []*Rule{sshNoRegenerator}, scope: systems, look: lookRegenerator},
		{rules: []*Rule{authorizedKeys, sshKnownBadKey, sshUserKey, sshKnownHosts}, look: lookHomes},
		{rules: []*Rule{sshdRootPassword}, scope: systems, look: lookRootLogin},
	},
}

var (
	sshHostKey = &Rule{
		ID: "ssh-host-key", Title: "a private SSH host key is stored",
		Systems: Any, Severity: Error,
		Reason:   "All machines have the same key, and so has everybody who has the image: they can pose as any of the machines.",
		Evidence: "ssh_host_*_key in /etc/ssh and /usr/local/etc/ssh, HostKey lines of sshd_config and what it includes, keys of dropbear, also for the initramfs",
		Fix:      provided("something in the image makes new keys at boot", Remove, "remove the key, its .pub and its certificate"), Reference: "sshd(8), ssh-keygen(1)",
	}
	sshHostKeyEmpty = &Rule{
		ID: "ssh-host-key-empty", Title: "an SSH host key file is empty",
		Systems: Any, Severity: Warning,
		Reason:   "ssh-keygen -A fills it, but what only looks whether the file is there leaves sshd without a key.",
		Evidence: "the files of ssh-host-key, if they have 0 bytes",
		Fix:      safe(Remove, "remove it"), Reference: "ssh-keygen(1)",
	}
	sshNoRegenerator = &Rule{
		ID: "ssh-no-regenerator", Title: "sshd has no host key, and nothing makes one",
		Systems: Linux, Severity: Error,
		Reason:   "sshd does not start without a host key: the machine cannot be reached.",
		Evidence: "ssh.service or sshd.service enabled, no keys, and no unit, script or cloud-init module that makes them",
		Fix:      provided("it is asked for, with --install-regenerator", Write, "add a unit that runs ssh-keygen -A before sshd"), Reference: "sshd(8)",
	}
	authorizedKeys = &Rule{
		ID: "authorized-keys", Title: "a key may log in",
		Systems: Any, Severity: Error, Profiles: map[Profile]Severity{Appliance: Warning},
		Reason:   "Whoever has the private key, which is the one who built the image or a former colleague, gets into every machine.",
		Evidence: "lines of authorized_keys and authorized_keys2 in all homes of /etc/passwd, and of what AuthorizedKeysFile names",
		Fix:      optIn(Truncate, "empty the file, when there is another way in"), Reference: "sshd(8)",
	}
	sshKnownBadKey = &Rule{
		ID: "ssh-known-bad-key", Title: "a key that everybody has may log in",
		Systems: Any, Severity: Error,
		Reason:   "The private part is published: anybody gets in.",
		Evidence: "public keys whose private part is known, by fingerprint or by their comment",
		Fix:      safe(Edit, "remove the line"), Reference: "the insecure key pair of Vagrant",
	}
	sshUserKey = &Rule{
		ID: "ssh-user-key", Title: "a private SSH key of a user is stored",
		Systems: Any, Severity: Error,
		Reason:   "Everybody who has the image can log in wherever that key may.",
		Evidence: "id_* and private keys of other names in .ssh of all homes",
		Fix:      safe(Remove, "remove it, and take its public part out of use"), Reference: "ssh(1)",
	}
	sshKnownHosts = &Rule{
		ID: "ssh-known-hosts", Title: "the hosts that the builder has logged in to are recorded",
		Systems: Any, Severity: Warning,
		Reason:   "The names of machines in the builder's network go with the image.",
		Evidence: "known_hosts in .ssh of all homes",
		Fix:      safe(Remove, "remove it"), Reference: "ssh(1)",
	}
	sshdRootPassword = &Rule{
		ID: "sshd-root-password", Title: "root may log in by password over SSH",
		Systems: Any, Severity: Error, Profiles: map[Profile]Severity{Appliance: Warning},
		Reason:   "The password of root is the same on every machine, and anybody in the network may try.",
		Evidence: "PermitRootLogin yes, PasswordAuthentication not no, and a password set for root",
		Fix:      optIn(Edit, "set PermitRootLogin to prohibit-password"), Reference: "sshd_config(5)",
	}
)

// sshdConfig reads the configuration of sshd in effect: its own files and what
// they include, first value of each word first, as sshd does. Match blocks are
// left out: they are for some connections only.
func (s *scan) sshdConfig() map[string][]string {
	all := map[string][]string{}
	for _, name := range []string{"/etc/ssh/sshd_config", "/usr/local/etc/ssh/sshd_config"} {
		s.sshdFile(name, all, 0)
	}
	return all
}

func (s *scan) sshdFile(name string, all map[string][]string, depth int) {
	if depth > 8 {
		return
	}
	for _, l := range lines(s.read(name), "#") {
		f := strings.Fields(strings.Replace(l, "=", " ", 1))
		if len(f) < 2 {
			continue
		}
		word := strings.ToLower(f[0])
		switch word {
		case "match":
			return
		case "include":
			for _, pattern := range f[1:] {
				if !strings.HasPrefix(pattern, "/") {
					pattern = name[:strings.LastIndexByte(name, '/')+1] + pattern
				}
				for _, inc := range s.files(pattern) {
					s.sshdFile(inc.path, all, depth+1)
				}
			}
		default:
			for i, v := range f[1:] {
				f[i+1] = strings.Trim(v, `"`)
			}
			all[word] = append(all[word], f[1:]...)
		}
	}
}

// hostKeys are the files that are, or should be, private host keys.
func (s *scan) hostKeys() []*file {
	patterns := []string{
		"/etc/ssh/ssh_host_*_key", "/usr/local/etc/ssh/ssh_host_*_key",
		"/etc/dropbear/dropbear_*_host_key", "/etc/dropbear{-initramfs,/initramfs}/*_host_key",
	}
	for _, key := range s.sshdConfig()["hostkey"] {
		if strings.HasPrefix(key, "/") && !hasMeta(key) {
			patterns = append(patterns, key)
		}
	}
	return s.files(patterns...)
}

func lookHostKeys(s *scan) {
	var condition detail
	for _, f := range s.hostKeys() {
		if f.attr.Size == 0 {
			s.found(sshHostKeyEmpty, f, "0 bytes")
			continue
		}
		b, ok := s.head(f, 64<<10)
		if !ok {
			continue
		}
		if condition == nil {
			condition = holds(false, "nothing was found that would make new keys")
			if by := s.regenerator(); by != "" {
				condition = holds(true, "%s", by)
			}
		}
		s.found(sshHostKey, f, "a private key", privateKey(b), condition)
	}
}

// privateKey describes a private key by its public part, if that is in the
// clear.
func privateKey(b []byte) detail {
	if name, fingerprint := opensshPublic(b); fingerprint != "" {
		return func(f *Finding) { f.Evidence, f.value, f.secret = name+" "+fingerprint, fingerprint, fingerprint }
	}
	return secret("private key", b)
}

// opensshPublic returns the type and fingerprint of the public key in a private
// key file of OpenSSH (PROTOCOL.key): "openssh-key-v1", three strings about the
// encryption, the number of keys, the public key.
func opensshPublic(b []byte) (name, fingerprint string) {
	block, _ := pem.Decode(b)
	if block == nil {
		return "", ""
	}
	rest, ok := strings.CutPrefix(string(block.Bytes), "openssh-key-v1\x00")
	if !ok {
		return "", ""
	}
	for range 3 {
		if _, rest, ok = cutString(rest); !ok {
			return "", ""
		}
	}
	if len(rest) < 4 {
		return "", ""
	}
	public, _, ok := cutString(rest[4:])
	if !ok {
		return "", ""
	}
	if name, _, ok = cutString(public); !ok {
		return "", ""
	}
	return printable(name), sshFingerprint([]byte(public))
}

// cutString splits off a string of the SSH protocol: length, bytes.
func cutString(s string) (first, rest string, ok bool) {
	if len(s) < 4 {
		return "", "", false
	}
	n := binary.BigEndian.Uint32([]byte(s[:4]))
	if uint64(n) > uint64(len(s)-4) {
		return "", "", false
	}
	return s[4 : 4+n], s[4+n:], true
}

// sshFingerprint is that of ssh-keygen -l.
func sshFingerprint(public []byte) string {
	sum := sha256.Sum256(public)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func lookRegenerator(s *scan) {
	enabled := s.links("/etc/systemd/system/*.wants/{ssh,sshd}.{service,socket}")
	if len(enabled) == 0 {
		return
	}
	for _, f := range s.hostKeys() {
		if f.attr.Size > 0 {
			return
		}
	}
	if s.regenerator() == "" {
		s.absent(sshNoRegenerator, "/etc/ssh", enabled[0].path+" starts sshd, which has no key and gets none")
	}
}

// homes are the home directories of a view: those of its passwd, and the usual
// places.
func (s *scan) homes() []string {
	var all []string
	seen := map[string]bool{}
	add := func(dir string) {
		if dir = strings.TrimRight(dir, "/"); strings.HasPrefix(dir, "/") && !seen[dir] {
			seen[dir] = true
			all = append(all, dir)
		}
	}
	add("/root")
	for _, a := range s.accounts() {
		if !hasMeta(a.home) && len(a.home) < 4096 {
			add(a.home)
		}
	}
	for _, f := range s.links("/home/*", "/usr/home/*") {
		if f.isDir() {
			add(f.path)
		}
	}
	return all
}

// publishedKeys are public keys whose private part is published.
var publishedComments = lazyregexp.New(`(?i)vagrant insecure public key`)

// vagrantRSA begins the key that Vagrant has shipped to everybody since 2010.
const vagrantRSA = "AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ=="

var publicKey = lazyregexp.New(`\b((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+) (AAAA[0-9A-Za-z+/=]+)(.*)`)

func lookHomes(s *scan) {
	homes := s.homes()
	patterns := below(homes, "/.ssh/authorized_keys", "/.ssh/authorized_keys2")
	for _, name := range s.sshdConfig()["authorizedkeysfile"] {
		name = strings.ReplaceAll(name, "%u", "*")
		switch {
		case strings.HasPrefix(name, "%h/"):
			patterns = append(patterns, below(homes, name[2:])...)
		case strings.HasPrefix(name, "/"):
			patterns = append(patterns, name)
		case name != "none":
			patterns = append(patterns, below(homes, "/"+name)...)
		}
	}
	for _, f := range s.files(patterns...) {
		for n, l := range lines(s.text(f), "#") {
			s.authorized(f, n, l)
		}
	}
	for _, f := range s.files(below(homes, "/.ssh/*")...) {
		switch {
		case f.attr.Size == 0 || strings.HasSuffix(f.name(), ".pub"):
		case strings.HasPrefix(f.name(), "known_hosts"):
			s.found(sshKnownHosts, f, "known hosts", shown("%s", bytesOf(f.attr.Size)))
		case strings.HasPrefix(f.name(), "id_"), s.holdsPrivateKey(f):
			if b, ok := s.head(f, 64<<10); ok {
				s.found(sshUserKey, f, "a private key", privateKey(b))
			}
		}
	}
}

func (s *scan) authorized(f *file, n int, l string) {
	m := publicKey.FindStringSubmatch(l)
	if m == nil {
		return
	}
	blob, err := base64.StdEncoding.DecodeString(m[2])
	if err != nil {
		blob = []byte(m[2])
	}
	fingerprint := sshFingerprint(blob)
	key := func(x *Finding) { x.Evidence, x.value = m[1]+" "+fingerprint, fingerprint }
	s.found(authorizedKeys, f, "a key may log in", key, line(n))
	if m[2] == vagrantRSA || publishedComments.MatchString(m[3]) {
		s.found(sshKnownBadKey, f, "Vagrant's insecure key may log in", key, line(n))
	}
}

var privateHeader = lazyregexp.New(`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----`)

func (s *scan) holdsPrivateKey(f *file) bool {
	b, ok := s.head(f, 4096)
	return ok && privateHeader.Match(b)
}

func lookRootLogin(s *scan) {
	conf := s.sshdConfig()
	first := func(word string) string {
		if v := conf[word]; len(v) > 0 {
			return strings.ToLower(v[0])
		}
		return ""
	}
	if first("permitrootlogin") != "yes" || first("passwordauthentication") == "no" {
		return
	}
	for _, a := range s.accounts() {
		if a.name == "root" && a.usable() {
			for _, f := range s.files("/etc/ssh/sshd_config", "/usr/local/etc/ssh/sshd_config") {
				s.found(sshdRootPassword, f, "PermitRootLogin yes, and root has a password")
			}
		}
	}
}
