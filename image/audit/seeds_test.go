package audit

import "strings"

var seed = strings.Repeat("0123456789HUNTER2abcdef", 23)[:512]

var _ = addSamples(Linux,
	sample{rules: "machine-id-set", bad: files{"/etc/machine-id": text(oneID + "\n")}, good: files{"/etc/machine-id": text("uninitialized\n")}},
	sample{rules: "machine-id-zero", bad: files{"/etc/machine-id": text(zeros + "\n")}},
	sample{rules: "machine-id-invalid", bad: files{"/etc/machine-id": text("HUNTER2\n")}},
	sample{rules: "machine-id-empty", bad: files{"/etc/machine-id": text("")}},
	sample{rules: "machine-id-odd-type", bad: files{"/etc/machine-id": dir(0o755)}},
	sample{
		rules: "dbus-machine-id-set machine-id-mismatch", bad: files{"/etc/machine-id": text(oneID), "/var/lib/dbus/machine-id": text(otherID)},
		good: files{"/etc/machine-id": text(oneID), "/var/lib/dbus/machine-id": symlink("/etc/machine-id")},
	},
	sample{
		rules: "random-seed-present random-seed-mode random-seed-creditable",
		bad: files{
			"/var/lib/systemd/random-seed":                                  {mode: 0o100000 | 0o644, text: seed, xattrs: map[string]string{"user.random-seed-creditable": "1"}},
			"/etc/systemd/system/systemd-random-seed.service.d/credit.conf": text("[Service]\nEnvironment=SYSTEMD_RANDOM_SEED_CREDIT=force\n"),
		},
		good: files{"/var/lib/systemd/random-seed": private("")},
		at:   "/var/lib/systemd/random-seed",
	},
	sample{rules: "random-seed-constant", bad: files{"/var/lib/urandom/random-seed": private(strings.Repeat("\x00", 512))}, good: files{"/var/lib/urandom/random-seed": private(seed)}},
	sample{
		rules: "esp-random-seed", bad: files{"/boot/efi/loader/random-seed": text(seed), "/boot/efi/loader/loader.conf": text("timeout 3\nrandom-seed-mode always\n")},
		good: files{"/boot/efi/loader/loader.conf": text("random-seed-mode always\n")},
	},
	sample{
		rules: "credential-secret credstore-encrypted credstore-plain tpm-binding",
		bad: files{
			"/var/lib/systemd/credential.secret":                private(seed),
			"/etc/credstore.encrypted/web":                      private("HUNTER2"),
			"/usr/lib/credstore/passwd.hashed-password.root":    private("$6$HUNTER2"),
			"/etc/systemd/system/web.service":                   text("[Service]\nSetCredentialEncrypted=a: HUNTER2\n"),
			"/var/lib/systemd/tpm2-srk-public-key.tpm2b_public": text("HUNTER2"),
		},
		good: files{"/usr/lib/credstore/motd": text("hello"), "/etc/credstore/passwd.root": text("")},
	},
)

var _ = addSamples(OpenBSD,
	sample{
		rules: "obsd-random-seed obsd-random-seed-reused obsd-host-random",
		bad:   files{"/etc/random.seed": moded(0o1600, seed), "/var/db/host.random": private(seed)},
		good:  files{"/etc/random.seed": moded(0o600, "")},
	},
)

var _ = addSamples(FreeBSD,
	sample{rules: "fbsd-entropy", bad: files{"/boot/entropy": private(seed), "/var/db/entropy/saved-entropy.1": private(seed)}, good: files{"/var/db/entropy": dir(0o700)}},
)
