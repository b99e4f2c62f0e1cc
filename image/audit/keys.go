package audit

import (
	"bytes"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

var keysFamily = family{
	name: "keys", title: "Keys and certificates",
	checks: []check{
		secretsIf(ikeKey, "key", (*scan).ikeKey, "/etc/{isakmpd,iked}/private/local.key", "/etc/ipsec.d/private/*", "/etc/swanctl/{private,rsa,ecdsa,pkcs8,pkcs12}/*",
			"/usr/local/etc/{ipsec.d/private,swanctl/private}/*"),
		matching(ikeSecret, pattern{files: []string{"/etc/ipsec.secrets", "/etc/ipsec.d/*.secrets", "/usr/local/etc/ipsec.secrets"}, comment: "#",
			line: lazyregexp.New(`:\s*(PSK|RSA|ECDSA|EAP|XAUTH)\s+\S`), message: "a secret of IPsec", hidden: true},
			pattern{files: []string{"/etc/{ipsec,iked}.conf"}, comment: "#", line: lazyregexp.New(`\bpsk\s+\S`), message: "a pre-shared key", hidden: true}),
		matching(wireguardKey, pattern{files: []string{"/etc/wireguard/*.conf", "/usr/local/etc/wireguard/*.conf", "/etc/systemd/network/*.netdev", "/usr/lib/systemd/network/*.netdev"}, comment: "#;",
			line: lazyregexp.New(`(?i)^(PrivateKey|PresharedKey)\s*=\s*\S`), message: "a private key of WireGuard", hidden: true},
			pattern{files: []string{"/etc/hostname.wg*"}, comment: "#", line: lazyregexp.New(`\b(wgkey|wgpsk)\s+\S`), message: "a private key of WireGuard", hidden: true}),
		secretsIf(snakeoilKey, "private key", (*scan).snakeoil, "/etc/ssl/private/ssl-cert-snakeoil.key"),
		secrets(acmeAccount, "key or account", "/etc/letsencrypt/accounts/*/*/*/private_key.json", "/etc/letsencrypt/{live,archive}/*/privkey*.pem",
			"/var/lib/acme/{keys,accounts}/*", "/var/lib/acme/*/key.pem", "/etc/acme/*privkey*", "/etc/acme/*.key", "/root/.acme.sh/*/*.key", "/root/.acme.sh/ca/*/*/account.key"),
		secrets(meshIdentity, "identity", "/var/lib/tailscale/tailscaled.state", "/var/lib/zerotier-one/identity.secret", "/etc/nebula/*.key",
			"/etc/tinc/*/{rsa,ed25519}_key.priv", "/etc/netbird/config.json", "/var/lib/netbird/default.json", "/etc/innernet/*.conf"),
		secretsIf(serviceKey, "secret", (*scan).serviceKey, serviceKeys...),
		matching(serviceKey, pattern{files: []string{"/etc/mysql/debian.cnf"}, comment: "#", line: lazyregexp.New(`^password\s*=\s*\S`), message: "the password of the maintainer's account", hidden: true, decide: (*scan).serviceKey}),
		secrets(kerberosKeytab, "keytab", "/etc/krb5.keytab", "/etc/krb5kdc/*.keytab", "/var/lib/krb5kdc/{principal,stash}", "/var/kerberos/krb5kdc/{principal,.k5.*}", "/var/heimdal/{heimdal.db,m-key}"),
		secrets(sambaSecrets, "database of secrets", "/var/lib/samba/private/{secrets,passdb}.tdb", "/var/lib/samba/{secrets,passdb}.tdb", "/usr/local/samba/private/secrets.tdb"),
		secrets(directoryEnrolment, "state of an enrolment", "/etc/ipa/default.conf", "/etc/ipa/nssdb/{key3,key4}.db", "/var/lib/ipa-client/sysrestore/*", "/var/lib/sss/db/*.ldb"),
		{rules: []*Rule{secretFileMode}, look: lookSecretModes},
		{rules: []*Rule{privateKeyFile}, visit: visitPrivateKeys},
		{rules: []*Rule{secretInConfig}, visit: visitSecrets},
	},
}

// serviceKeys are what packages make once, when they are installed.
var serviceKeys = []string{
	"/etc/bind/rndc.key", "/etc/rndc.key", "/usr/local/etc/namedb/rndc.key", "/var/named/etc/rndc.key",
	"/etc/unbound/unbound_{server,control}.key", "/var/unbound/etc/unbound_{server,control}.key", "/var/nsd/etc/nsd_{server,control}.key", "/etc/nsd/nsd_{server,control}.key",
	"/etc/xrdp/{rsakeys.ini,key.pem}", "/var/lib/rabbitmq/.erlang.cookie", "/var/lib/ejabberd/.erlang.cookie", "/var/lib/couchdb/.erlang.cookie", "/opt/couchdb/.erlang.cookie",
	"/etc/ejabberd/ejabberd.pem", "/etc/munge/munge.key", "/etc/corosync/authkey", "/etc/pacemaker/authkey",
	"/etc/salt/pki/{minion,master}/*.pem", "/etc/chef/client.pem", "/etc/puppetlabs/puppet/ssl/private_keys/*.pem", "/var/lib/puppet/ssl/private_keys/*.pem",
	"/var/lib/tor/keys/*secret*", "/var/lib/tor/*/{hs_ed25519_secret_key,private_key}", "/var/lib/mysql/*-key.pem", "/var/lib/mysql/private_key.pem",
	"/etc/freeradius/*/certs/*.key", "/etc/stunnel/stunnel.pem", "/etc/cockpit/ws-certs.d/*.key", "/etc/webmin/miniserv.pem", "/etc/openvpn/{*.key,server/*.key,client/*.key,easy-rsa/pki/private/*.key}",
	"/etc/dovecot/private/*.pem", "/etc/postfix/*.key", "/etc/cups/ssl/*.key", "/etc/vnc/private.key", "/root/.vnc/passwd", "/etc/vncpasswd",
}

var (
	ikeKey = &Rule{
		ID: "ike-key", Title: "a private key of IPsec is stored",
		Systems: Any, Severity: Error,
		Reason:   "All machines authenticate as one, and everybody who has the image can.",
		Evidence: "local.key of isakmpd and iked, private keys of strongSwan",
		Fix:      provided("something makes a new one: on OpenBSD rc does, strongSwan does not", Remove, "remove it and its local.pub"), Reference: "iked(8), isakmpd(8)",
	}
	ikeSecret = &Rule{
		ID: "ike-secret", Title: "a secret of IPsec is in a configuration",
		Systems: Any, Severity: Error,
		Reason:   "Who has the image can pose as either end of the tunnel.",
		Evidence: "ipsec.secrets; psk in ipsec.conf and iked.conf",
		Fix:      report("hand it to each machine instead"), Reference: "ipsec.conf(5)",
	}
	wireguardKey = &Rule{
		ID: "wireguard-key", Title: "a private key of WireGuard is stored",
		Systems: Any, Severity: Error,
		Reason:   "Two machines with one key drive each other off the tunnel, and whoever has the image can take their place.",
		Evidence: "PrivateKey and PresharedKey in /etc/wireguard and .netdev files, wgkey in hostname.wg*",
		Fix:      report("make a key on each machine"), Reference: "wg(8), ifconfig(8)",
	}
	snakeoilKey = &Rule{
		ID: "snakeoil-key", Title: "the self-signed key of ssl-cert is stored",
		Systems: Linux, Severity: Error,
		Reason:   "Every service that is configured with it has the same key on every machine; the certificate names the builder's host.",
		Evidence: "/etc/ssl/private/ssl-cert-snakeoil.key",
		Fix:      provided("make-ssl-cert generate-default-snakeoil runs at the first boot, or nothing uses the key", Remove, "remove the key and its certificate"), Reference: "make-ssl-cert(8)",
	}
	acmeAccount = &Rule{
		ID: "acme-account", Title: "a key of an ACME account or certificate is stored",
		Systems: Any, Severity: Error,
		Reason:   "Who has the image can order, renew and revoke certificates, or use those that are there.",
		Evidence: "/etc/letsencrypt, /etc/acme, /var/lib/acme, acme.sh in the home of root",
		Fix:      optIn(Remove, "remove account and keys"), Reference: "RFC 8555",
	}
	meshIdentity = &Rule{
		ID: "mesh-identity", Title: "the identity of a node in a mesh is stored",
		Systems: Any, Severity: Error,
		Reason:   "Two nodes with one identity drive each other out, and whoever has the image can join the network.",
		Evidence: "state of Tailscale, ZeroTier, Nebula, tinc, NetBird, innernet",
		Fix:      safe(Remove, "remove it: the node is enrolled anew"),
	}
	serviceKey = &Rule{
		ID: "service-key", Title: "a secret that a package has made is stored",
		Systems: Any, Severity: Error,
		Reason:   "It was made once, when the package was installed: every machine has the same, and so has everybody who has the image.",
		Evidence: "keys of BIND, Unbound, NSD, xrdp, Erlang, MUNGE, Corosync, Salt, Chef, Puppet, Tor, MySQL, FreeRADIUS, OpenVPN and others; the password in debian.cnf",
		Fix:      provided("the service makes a new one at its start, or a unit at the first boot does", Remove, "remove it"),
	}
	kerberosKeytab = &Rule{
		ID: "kerberos-keytab", Title: "keys of Kerberos are stored",
		Systems: Any, Severity: Error,
		Reason:   "Who has the image can act as the host in its realm.",
		Evidence: "/etc/krb5.keytab, the databases of a KDC",
		Fix:      optIn(Remove, "remove it, which takes the machine out of the realm"), Reference: "krb5.conf(5)",
	}
	sambaSecrets = &Rule{
		ID: "samba-secrets", Title: "secrets of Samba are stored",
		Systems: Any, Severity: Error,
		Reason:   "The password of the machine's account in its domain, and its SID, are the same on every machine.",
		Evidence: "secrets.tdb and passdb.tdb",
		Fix:      optIn(Remove, "remove it, which takes the machine out of the domain"), Reference: "smbd(8)",
	}
	directoryEnrolment = &Rule{
		ID: "directory-enrolment", Title: "the machine is enrolled in a directory",
		Systems: Linux, Severity: Error,
		Reason:   "Every machine claims to be the one that was enrolled; cached accounts go with the image.",
		Evidence: "/etc/ipa, /var/lib/ipa-client, the database of sssd",
		Fix:      optIn(Remove, "remove it and enrol each machine"), Reference: "ipa-client-install(1)",
	}
	secretFileMode = &Rule{
		ID: "secret-file-mode", Title: "others can read a secret",
		Systems: Any, Severity: Error,
		Reason:   "Every account of the machine, and every service that is broken into, can read it.",
		Evidence: "permissions of shadow, gshadow, master.passwd, spwd.db, private keys of SSH and IPsec, *.nmconnection beyond what they are made with",
		Fix:      safe(Chmod, "take the permissions of others away"),
	}
	privateKeyFile = &Rule{
		ID: "private-key", Title: "a private key lies in the image",
		Systems: Any, Severity: Error, Slow: true,
		Reason:   "Who has the image has the key.",
		Evidence: "headers of PEM, OpenSSH, PGP, age, minisign and signify secrets in files up to 1 MiB of /etc, /root, /home, /srv, /opt, /var, /usr/local, /boot",
		Fix:      report("take it out, and the public part out of use"),
	}
	secretInConfig = &Rule{
		ID: "secret-in-config", Title: "something looks like a secret",
		Systems: Any, Severity: Warning, Slow: true, Profiles: map[Profile]Severity{Public: Error},
		Reason:   "Tokens open the accounts of whoever built the image.",
		Evidence: "tokens of cloud providers, code hosts and messengers, and addresses with passwords in texts up to 1 MiB of /etc, /root, /home, /srv, /opt",
		Fix:      report("take it out and revoke it"),
	}
)

// looser are files with the permissions that they must not exceed.
var looser = []struct {
	allowed  uint32
	patterns []string
}{
	{0o640, []string{"/etc/{shadow,gshadow,shadow-,gshadow-}"}},
	{0o600, []string{"/etc/master.passwd", "/etc/security/opasswd"}},
	{0o640, []string{"/etc/spwd.db"}}, // OpenBSD: group _shadow
	{0o640, []string{"/etc/ssh/ssh_host_*_key", "/usr/local/etc/ssh/ssh_host_*_key"}},
	{0o600, []string{"/etc/{isakmpd,iked}/private/local.key", "/etc/soii.key", "/var/db/host.random"}},
	{0o600, []string{"/etc/NetworkManager/system-connections/*.nmconnection", "/etc/wireguard/*.conf", "/etc/ipsec.secrets"}},
}

func lookSecretModes(s *scan) {
	for _, l := range looser {
		for _, f := range s.files(l.patterns...) {
			if perm := uint32(f.attr.Mode.Perm()) & 0o777; f.filled() && perm&^l.allowed != 0 {
				s.found(secretFileMode, f, "others can read or write it", shown("%04o, at most %04o", perm, l.allowed), chmodTo(f.attr.Mode.Perm()&^0o777|vfs.Mode(perm&l.allowed)))
			}
		}
	}
}

// keyHeaders are how secret keys begin.
var keyHeaders = []struct {
	kind string
	re   *lazyregexp.Regexp
}{
	{"private key", privateHeader},
	{"PGP private key", lazyregexp.New(`-----BEGIN PGP PRIVATE KEY BLOCK-----`)},
	{"age identity", lazyregexp.New(`AGE-SECRET-KEY-1[0-9A-Z]{20}`)},
	{"minisign or signify secret key", lazyregexp.New(`untrusted comment: .*secret key\n[A-Za-z0-9+/]{20}`)},
	{"PuTTY private key", lazyregexp.New(`PuTTY-User-Key-File-[23]:`)},
}

var (
	keyPlaces = lazyregexp.New(`^/(etc|root|home|srv|opt|var|usr/local|usr/home|boot)/`)
	// Other rules speak of these.
	otherKeys = lazyregexp.New(`^/etc/ssh/ssh_host_|^/usr/local/etc/ssh/ssh_host_|/\.ssh/|^/etc/ssl/private/ssl-cert-snakeoil|^/etc/(iked|isakmpd)/private/|^/etc/(ipsec\.d|swanctl)/|^/etc/letsencrypt/|/tests?/|^/var/lib/(dpkg|rpm)/`)
)

func visitPrivateKeys(s *scan, f *file) {
	if !f.filled() || f.attr.Size > maxText || !keyPlaces.MatchString(f.path) || otherKeys.MatchString(f.path) {
		return
	}
	b, ok := s.head(f, 16<<10)
	if !ok || !bytes.Contains(b, []byte("KEY")) && !bytes.Contains(b, []byte("ey")) || bytes.HasPrefix(b, []byte("\x7fELF")) {
		return
	}
	for _, h := range keyHeaders {
		if at := h.re.FindIndex(b); at != nil {
			s.found(privateKeyFile, f, "a "+h.kind, secret(h.kind, b[at[0]:]), line(1+bytes.Count(b[:at[0]], []byte("\n"))))
			return
		}
	}
}

// tokens are secrets by their form. The word in front is looked for first:
// most texts have none of them.
var tokens = []struct {
	kind, word string
	re         *lazyregexp.Regexp
}{
	{"access key of AWS", "AKIA", lazyregexp.New(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"secret key of AWS", "aws_secret", lazyregexp.New(`(?i)aws_secret_access_key\s*[=:]\s*\S{40}`)},
	{"token of GitHub", "gh", lazyregexp.New(`\bgh[pousr]_[0-9A-Za-z]{36}\b|\bgithub_pat_[0-9A-Za-z_]{22,}`)},
	{"token of GitLab", "glpat-", lazyregexp.New(`\bglpat-[0-9A-Za-z_-]{20}`)},
	{"token of Slack", "xox", lazyregexp.New(`\bxox[baprs]-[0-9A-Za-z-]{10,}`)},
	{"key of Google", "AIza", lazyregexp.New(`\bAIza[0-9A-Za-z_-]{35}\b`)},
	{"token of DigitalOcean", "dop_v1_", lazyregexp.New(`\bdop_v1_[0-9a-f]{64}\b`)},
	{"token of npm", "npm_", lazyregexp.New(`\bnpm_[0-9A-Za-z]{36}\b`)},
	{"token of PyPI", "pypi-", lazyregexp.New(`\bpypi-[0-9A-Za-z_-]{50,}`)},
	{"key of Stripe", "sk_live_", lazyregexp.New(`\bsk_live_[0-9A-Za-z]{20,}`)},
	{"account key of Azure", "AccountKey=", lazyregexp.New(`AccountKey=[0-9A-Za-z+/=]{40,}`)},
	{"address with a password", "://", lazyregexp.New(`[a-z][a-z0-9+.-]*://[^\s:/@"'<>$%{}\[\]()]+:[^\s:/@"'<>${}\[\]()]+@[0-9A-Za-z\[]`)},
}

var secretPlaces = lazyregexp.New(`^/(etc|root|home|srv|opt|usr/local/etc|usr/home)/`)

func visitSecrets(s *scan, f *file) {
	if !f.filled() || f.attr.Size > maxText || !secretPlaces.MatchString(f.path) {
		return
	}
	text := s.text(f)
	if strings.IndexByte(text[:min(len(text), 512)], 0) >= 0 {
		return
	}
	for _, t := range tokens {
		if !strings.Contains(text, t.word) {
			continue
		}
		if at := t.re.FindStringIndex(text); at != nil {
			s.found(secretInConfig, f, "looks like a "+t.kind, guessable(t.kind, text[at[0]:at[1]]), line(1+strings.Count(text[:at[0]], "\n")))
		}
	}
}
