package audit

import (
	"bytes"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

var seedsFamily = family{
	name: "seeds", title: "Random seeds",
	checks: []check{
		{rules: []*Rule{randomSeed, seedCreditable, seedConstant, seedMode}, look: lookLinuxSeeds},
		{rules: []*Rule{espSeed}, look: lookESPSeed},
		{rules: []*Rule{credentialSecret, credstorePlain, credstoreEncrypted, tpmBinding}, look: lookCredentials},
		{rules: []*Rule{obsdSeed, obsdSeedReused, obsdHostRandom, seedConstant, seedMode}, look: lookOpenBSDSeeds},
		{rules: []*Rule{fbsdEntropy, seedConstant, seedMode}, look: lookFreeBSDSeeds},
	},
}

const buildingImages = "systemd, Building Images Safely (systemd.io/BUILDING_IMAGES)"

var (
	randomSeed = &Rule{
		ID: "random-seed-present", Title: "a random seed is stored",
		Systems: Linux, Severity: Error,
		Reason:   "Every machine starts its random numbers from the same bytes, early at boot perhaps from little else.",
		Evidence: "/var/lib/systemd/random-seed, /var/lib/urandom/random-seed, /var/lib/random-seed, /var/lib/misc/random-seed, /etc/random-seed, if not empty",
		Fix:      safe(Remove, "remove it: the next shutdown writes a new one"), Reference: buildingImages,
	}
	seedCreditable = &Rule{
		ID: "random-seed-creditable", Title: "the random seed is credited as entropy",
		Systems: Linux, Severity: Error,
		Reason:   "The kernel takes the shared seed for real randomness and hands out keys made from it.",
		Evidence: "the extended attribute user.random-seed-creditable, SYSTEMD_RANDOM_SEED_CREDIT in drop-ins of systemd-random-seed.service",
		Fix:      safe(Remove, "remove the seed, or the drop-in"), Reference: "systemd-random-seed.service(8)",
	}
	seedConstant = &Rule{
		ID: "random-seed-constant", Title: "a random seed is no random data",
		Systems: Any, Severity: Warning,
		Reason:   "Somebody has overwritten it with one and the same byte: no secret, but no seed either.",
		Evidence: "the seed files of all systems, if all bytes are equal",
		Fix:      safe(Remove, "remove it: an absent seed is honest"),
	}
	seedMode = &Rule{
		ID: "random-seed-mode", Title: "others can read a random seed",
		Systems: Any, Severity: Warning,
		Reason:   "Who can read the seed knows where the random numbers of the next boot begin.",
		Evidence: "permissions of the seed files beyond 0600",
		Fix:      safe(Chmod, "chmod 600"),
	}
	espSeed = &Rule{
		ID: "esp-random-seed", Title: "the boot loader's random seed is stored",
		Systems: Linux, Severity: Warning,
		Reason:   "systemd-boot mixes it with a token of the machine's firmware; where there is none, or with random-seed-mode always, all machines start from it.",
		Evidence: "/loader/random-seed on the EFI system partition, random-seed-mode in loader.conf",
		Fix:      safe(Remove, "remove it: bootctl makes a new one"), Reference: buildingImages,
	}
	credentialSecret = &Rule{
		ID: "credential-secret", Title: "the host key of systemd's credentials is stored",
		Systems: Linux, Severity: Error,
		Reason:   "Whoever has the image can decrypt the credentials of every machine made from it.",
		Evidence: "/var/lib/systemd/credential.secret",
		Fix:      provided("no encrypted credentials are in the image, which could not be read any more", Remove, "remove it: it is made when it is wanted"), Reference: buildingImages,
	}
	credstorePlain = &Rule{
		ID: "credstore-plain", Title: "a credential is stored in the clear",
		Systems: Linux, Severity: Error,
		Profiles: map[Profile]Severity{Appliance: Warning},
		Reason:   "Passwords and keys that units get are in everybody's hands; a hashed root password there is set on every machine.",
		Evidence: "/etc/credstore, /run/credstore and /usr/lib/credstore: names with password, secret, key or token",
		Fix:      optIn(Remove, "remove it and hand it to each machine instead"), Reference: "systemd.exec(5), LoadCredential=",
	}
	credstoreEncrypted = &Rule{
		ID: "credstore-encrypted", Title: "a credential is encrypted for the machine that built the image",
		Systems: Linux, Severity: Warning,
		Reason:   "It is bound to a key or TPM of that machine: no other one can open it.",
		Evidence: "/etc/credstore.encrypted, /loader/credentials on the EFI system partition, SetCredentialEncrypted= in units",
		Fix:      report("encrypt credentials on each machine, or with a key that is shipped by other means"), Reference: "systemd-creds(1)",
	}
	tpmBinding = &Rule{
		ID: "tpm-binding", Title: "state of the builder's TPM is stored",
		Systems: Linux, Severity: Warning,
		Reason:   "It describes hardware that no machine has that is made from the image.",
		Evidence: "tpm2-srk-public-key.* and pcrlock.json in /var/lib/systemd",
		Fix:      provided("nothing in the image is sealed to it", Remove, "remove it"), Reference: "systemd-tpm2-setup.service(8)",
	}
	obsdSeed = &Rule{
		ID: "obsd-random-seed", Title: "OpenBSD's boot seed is stored",
		Systems: OpenBSD, Severity: Error,
		Reason:   "The boot loader feeds it to the kernel. In a shared image every machine starts from it; on a read-only root it is never renewed.",
		Evidence: "/etc/random.seed with something in it",
		Fix:      provided("each machine gets a seed of its own when the image is written to it, or a weaker first boot is accepted", Remove, "remove it; resflash personalise writes fresh random bytes for each machine"), Reference: "boot(8), random(4)",
	}
	obsdSeedReused = &Rule{
		ID: "obsd-random-seed-reused", Title: "OpenBSD's boot seed has been used",
		Systems: OpenBSD, Severity: Warning,
		Reason:   "The boot loader sets the sticky bit when it takes the seed, and does not credit it again: the image has been booted, or its root was never writable since.",
		Evidence: "the sticky bit of /etc/random.seed",
		Fix:      provided("that of obsd-random-seed holds", Remove, "remove it; resflash personalise writes fresh random bytes for each machine, without the bit"), Reference: "boot(8)",
	}
	obsdHostRandom = &Rule{
		ID: "obsd-host-random", Title: "OpenBSD's saved randomness is stored",
		Systems: OpenBSD, Severity: Error,
		Reason:   "rc feeds it to the kernel at boot: every machine gets the same.",
		Evidence: "/var/db/host.random with something in it",
		Fix:      safe(Remove, "remove it: rc writes a new one"), Reference: "rc(8)",
	}
	fbsdEntropy = &Rule{
		ID: "fbsd-entropy", Title: "FreeBSD's saved entropy is stored",
		Systems: FreeBSD, Severity: Error,
		Reason:   "The loader and rc feed it to the kernel: every machine gets the same.",
		Evidence: "/entropy, /boot/entropy, /var/db/entropy-file, /var/db/entropy/*",
		Fix:      provided("the machines have another source of randomness at their first boot", Remove, "remove it"), Reference: "random(4)",
	}
)

func lookLinuxSeeds(s *scan) {
	for _, f := range s.files("/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/random-seed",
		"/var/lib/misc/random-seed", "/etc/random-seed") {
		s.seed(randomSeed, f)
		if x, ok := f.vol.Tree.FS().(vfs.Xattrer); ok && f.filled() {
			all, err := x.Xattrs(s.ctx, f.attr.Ino)
			if err != nil {
				s.unread(f.path, &fault{f.vol, f.at, err})
			}
			if string(all["user.random-seed-creditable"]) == "1" {
				s.found(seedCreditable, f, "is marked as creditable")
			}
		}
	}
	for _, f := range s.files("/{etc,usr/lib,lib}/systemd/system/systemd-random-seed.service.d/*.conf") {
		for n, l := range lines(s.text(f), "#;") {
			if creditsSeed.MatchString(l) {
				s.found(seedCreditable, f, "credits any seed", line(n))
			}
		}
	}
}

var creditsSeed = lazyregexp.New(`SYSTEMD_RANDOM_SEED_CREDIT=("|')?(1|yes|true|on|force)\b`)

// seed reports a seed that is not empty. One that is overwritten is no secret.
func (s *scan) seed(r *Rule, f *file, details ...detail) {
	if !f.filled() {
		return
	}
	b, ok := s.head(f, 64<<10)
	if !ok {
		return
	}
	if constant(b) {
		s.found(seedConstant, f, "all bytes are the same", shown("%s", bytesOf(f.attr.Size)))
		return
	}
	s.found(r, f, "a seed", append([]detail{secret("seed", b)}, details...)...)
	if f.attr.Mode.Perm()&0o077 != 0 {
		s.found(seedMode, f, "others can read it", shown("%s", f.attr.Mode), chmodTo(0o600))
	}
}

func constant(b []byte) bool { return len(b) > 1 && bytes.Count(b, b[:1]) == len(b) }

// bootDirs are where the EFI system partition and the like may be seen: alone,
// or in their places in a system.
var bootDirs = []string{"", "/boot", "/efi", "/boot/efi"}

// below puts each of dirs in front of patterns.
func below(dirs []string, patterns ...string) []string {
	var all []string
	for _, d := range dirs {
		for _, p := range patterns {
			all = append(all, d+p)
		}
	}
	return all
}

func lookESPSeed(s *scan) {
	for _, dir := range bootDirs {
		f := s.stat(dir + "/loader/random-seed")
		if !f.filled() {
			continue
		}
		b, ok := s.head(f, 4096)
		if !ok {
			continue
		}
		severity, message := Warning, "a seed"
		for _, l := range lines(s.read(dir+"/loader/loader.conf"), "#") {
			if w := strings.Fields(l); len(w) == 2 && w[0] == "random-seed-mode" && w[1] == "always" {
				severity, message = Error, "a seed, and random-seed-mode always uses it on any machine"
			}
		}
		s.found(espSeed, f, message, secret("seed", b), s.as(severity))
	}
}

var credentialNames = lazyregexp.New(`(?i)(^passwd\.|password|secret|token|key)`)

func lookCredentials(s *scan) {
	var encrypted []string
	for _, f := range s.files(append([]string{"/{etc,usr/lib}/credstore.encrypted/*"}, below(bootDirs, "/loader/credentials/*.cred", "/EFI/Linux/*.efi.extra.d/*.cred")...)...) {
		if f.filled() {
			encrypted = append(encrypted, f.path)
			s.found(credstoreEncrypted, f, "an encrypted credential", shown("%s", bytesOf(f.attr.Size)))
		}
	}
	for _, f := range s.files("/{etc,usr/lib}/systemd/{system,user}/{*.service,*.service.d/*.conf}") {
		for n, l := range lines(s.text(f), "#;") {
			if strings.HasPrefix(l, "SetCredentialEncrypted=") {
				encrypted = append(encrypted, f.path)
				s.found(credstoreEncrypted, f, "an encrypted credential in a unit", line(n))
			}
		}
	}
	for _, f := range s.files("/{etc,usr/lib,run}/credstore/*") {
		if f.filled() && credentialNames.MatchString(f.name()) {
			s.found(credstorePlain, f, "a credential in the clear", guessable("credential", s.text(f)))
		}
	}
	if f := s.stat("/var/lib/systemd/credential.secret"); f.filled() {
		if b, ok := s.head(f, 64<<10); ok {
			condition := holds(true, "no encrypted credentials were found")
			if len(encrypted) > 0 {
				condition = holds(false, "%s may be encrypted with it", encrypted[0])
			}
			s.found(credentialSecret, f, "a key", secret("key", b), condition)
		}
	}
	for _, f := range s.files("/var/lib/systemd/{tpm2-srk-public-key.*,pcrlock.json}") {
		if f.filled() {
			s.found(tpmBinding, f, "state of a TPM", shown("%s", bytesOf(f.attr.Size)), s.sealedTo(encrypted))
		}
	}
}

func lookOpenBSDSeeds(s *scan) {
	if f := s.stat("/etc/random.seed"); f.filled() {
		var more []detail
		if s.installed != nil && s.installed.OS.Build != "" {
			more = append(more, note("the root is a resflash slot, mounted read-only: the seed on it is the one of the build"))
		}
		s.seed(obsdSeed, f, more...)
		if f.attr.Mode&vfs.Sticky != 0 {
			s.found(obsdSeedReused, f, "the sticky bit is set: a boot loader has used it", shown("%s", f.attr.Mode))
		}
	}
	if f := s.stat("/var/db/host.random"); f != nil {
		s.seed(obsdHostRandom, f)
	}
}

func lookFreeBSDSeeds(s *scan) {
	for _, f := range s.files("/entropy", "/boot/entropy", "/var/db/entropy-file", "/var/db/entropy/*") {
		s.seed(fbsdEntropy, f)
	}
}

// sealedTo decides about the state of a TPM: nothing may be sealed to it.
func (s *scan) sealedTo(encrypted []string) detail {
	if len(encrypted) > 0 {
		return holds(false, "%s may be sealed to it", encrypted[0])
	}
	for _, v := range s.audit.target.Volumes {
		if v.Partition != nil && strings.HasPrefix(v.Partition.Content.Type, "LUKS") {
			return holds(false, "the key of volume %s may be sealed to it", v.ID)
		}
	}
	return holds(true, "no encrypted credential and no encrypted volume is in the image")
}
