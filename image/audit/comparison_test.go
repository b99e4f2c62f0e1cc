package audit

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// compared compares two systems.
func compared(t *testing.T, a, b files) *Comparison {
	t.Helper()
	first, second := one(t, systemFiles[Linux].with(a).build()), one(t, systemFiles[Linux].with(b).build())
	first.Name, second.Name = "a.img", "b.img"
	c, err := CompareTargets(context.Background(), first, second, audit(t, first, Options{}), audit(t, second, Options{}))
	require.NoError(t, err)
	return c
}

// causes are the paths that differ, each with what explains it: a rule,
// "noise", or nothing.
func causes(c *Comparison) map[string]string {
	all := map[string]string{}
	for _, d := range c.Differences {
		all[d.Path] = d.Rule
		if d.Cause == ByNoise {
			all[d.Path] = "noise"
		}
	}
	return all
}

const shadowLine = "root:*:19000:0:99999:7:::\n"

// What differs is explained by what a rule finds there and no further, or
// masked after a look at the contents; the rest is left over.
func TestDifferences(t *testing.T) {
	pyc := func(time, code string) thing { return text("\xa7\r\r\n\x00\x00\x00\x00" + time + "size" + code) }
	for name, c := range map[string]struct {
		a, b files
		want map[string]string
	}{
		"the same": {files{"/etc/x": text("1")}, files{"/etc/x": text("1")}, map[string]string{}},
		"a program": {
			files{"/usr/bin/su": moded(0o4755, "a"), "/usr/bin/ls": moded(0o755, "a")}, files{"/usr/bin/su": moded(0o4755, "b"), "/usr/bin/ls": moded(0o755, "b")},
			map[string]string{"/usr/bin/su": "", "/usr/bin/ls": ""}, // that it is set-ID explains nothing
		},
		"a key and its public part": {
			files{"/etc/ssh/ssh_host_rsa_key": private(pemKey), "/etc/ssh/ssh_host_rsa_key.pub": text("a")}, files{"/etc/ssh/ssh_host_rsa_key": private(pemKey + "2"), "/etc/ssh/ssh_host_rsa_key.pub": text("b")},
			map[string]string{"/etc/ssh/ssh_host_rsa_key": "ssh-host-key", "/etc/ssh/ssh_host_rsa_key.pub": "ssh-host-key"},
		},
		"a public part alone": {
			files{"/etc/ssh/ssh_host_rsa_key.pub": text("a")}, files{"/etc/ssh/ssh_host_rsa_key.pub": text("b")},
			map[string]string{"/etc/ssh/ssh_host_rsa_key.pub": ""},
		},
		"an ID in one only": {files{"/etc/machine-id": text(oneID + "\n")}, files{"/etc/machine-id": text("uninitialized\n")}, map[string]string{"/etc/machine-id": "machine-id-set"}},
		"the line of a finding": {
			files{"/etc/iscsi/initiatorname.iscsi": text("# c\nInitiatorName=iqn.a:1\n")}, files{"/etc/iscsi/initiatorname.iscsi": text("# c\nInitiatorName=iqn.a:2\n")},
			map[string]string{"/etc/iscsi/initiatorname.iscsi": "iscsi-initiator"},
		},
		"another line beside it": {
			files{"/etc/iscsi/initiatorname.iscsi": text("# c\nInitiatorName=iqn.a:1\n")}, files{"/etc/iscsi/initiatorname.iscsi": text("# c\nInitiatorName=iqn.a:2\nmore\n")},
			map[string]string{"/etc/iscsi/initiatorname.iscsi": ""},
		},
		"permissions": {
			files{"/etc/shadow": moded(0o640, shadowLine), "/etc/x": moded(0o600, "")}, files{"/etc/shadow": moded(0o644, shadowLine), "/etc/x": moded(0o644, "")},
			map[string]string{"/etc/shadow": "secret-file-mode", "/etc/x": ""},
		},
		"a directory of what is found": {
			files{"/var/lib/cloud/instances/i-1/user-data.txt": text("x")}, files{},
			map[string]string{"/var": "cloud-init-instance", "/var/lib": "cloud-init-instance", "/var/lib/cloud": "cloud-init-instance", "/var/lib/cloud/instances": "cloud-init-instance", "/var/lib/cloud/instances/i-1": "cloud-init-instance"},
		},
		"a directory with more in it": {
			files{"/srv/a": text("x"), "/srv/b": dir(0o755)}, files{},
			map[string]string{"/srv": "", "/srv/a": "", "/srv/b": ""},
		},
		"another type, owner, target, attribute": {
			files{"/a": text(""), "/b": thing{mode: vfs.Regular | 0o644, uid: 1}, "/c": symlink("x"), "/d": thing{mode: vfs.Regular | 0o644, xattrs: map[string]string{"user.a": "1"}}},
			files{"/a": dir(0o755), "/b": text(""), "/c": symlink("y"), "/d": thing{mode: vfs.Regular | 0o644, xattrs: map[string]string{"user.a": "2"}}},
			map[string]string{"/a": "", "/b": "", "/c": "", "/d": ""},
		},
		"the day of a password": {
			files{"/etc/shadow": moded(0o640, shadowLine)}, files{"/etc/shadow": moded(0o640, strings.Replace(shadowLine, "19000", "19001", 1))},
			map[string]string{"/etc/shadow": "noise"},
		},
		"a lock of a password": {
			files{"/etc/shadow": moded(0o640, shadowLine)}, files{"/etc/shadow": moded(0o640, strings.Replace(shadowLine, "*:19000", "!:19001", 1))},
			map[string]string{"/etc/shadow": ""},
		},
		"a date in a comment": {
			files{"/etc/a.conf": text("# made on Sat, 28 Nov 2026 15:03:53 +0000 by x\na=2026-01-01\n"), "/etc/b.conf": text("a=2026-01-01\n")},
			files{"/etc/a.conf": text("# made on Sun, 29 Nov 2026 01:12:16 +0000 by x\na=2026-01-01\n"), "/etc/b.conf": text("a=2026-01-02\n")},
			map[string]string{"/etc/a.conf": "noise", "/etc/b.conf": ""},
		},
		"compiled Python": {
			files{"/usr/lib/a.pyc": pyc("1111", "code"), "/usr/lib/b.pyc": pyc("1111", "code"), "/usr/lib/c.pyc": text("none")},
			files{"/usr/lib/a.pyc": pyc("2222", "code"), "/usr/lib/b.pyc": pyc("2222", "evil"), "/usr/lib/c.pyc": text("else")},
			map[string]string{"/usr/lib/a.pyc": "noise", "/usr/lib/b.pyc": "", "/usr/lib/c.pyc": ""},
		},
		"a cache of ldconfig": {
			files{"/var/cache/ldconfig/aux-cache": text(auxCacheOf(1, "liba.so.1", "libb.so.1"))}, files{"/var/cache/ldconfig/aux-cache": text(auxCacheOf(2, "libb.so.1", "liba.so.1"))},
			map[string]string{"/var/cache/ldconfig/aux-cache": "noise"},
		},
		"a cache with another library": {
			files{"/var/cache/ldconfig/aux-cache": text(auxCacheOf(1, "liba.so.1"))}, files{"/var/cache/ldconfig/aux-cache": text(auxCacheOf(1, "libevil.so.1"))},
			map[string]string{"/var/cache/ldconfig/aux-cache": ""},
		},
		"pages of a database": {
			files{"/var/cache/man/index.db": text(gdbmOf("$mtime$=1", "ls=list", "cp=copy")), "/var/cache/man/de/index.db": text(gdbmOf("ls=list"))},
			files{"/var/cache/man/index.db": text(gdbmOf("cp=copy", "$mtime$=2", "ls=list")), "/var/cache/man/de/index.db": text(gdbmOf("ls=evil"))},
			map[string]string{"/var/cache/man/index.db": "noise", "/var/cache/man/de/index.db": ""},
		},
		"no database":            {files{"/var/cache/man/index.db": text("a"), "/var/cache/ldconfig/aux-cache": text("a")}, files{"/var/cache/man/index.db": text("b"), "/var/cache/ldconfig/aux-cache": text("b")}, map[string]string{"/var/cache/man/index.db": "", "/var/cache/ldconfig/aux-cache": ""}},
		"sparse files of 1 TiB":  {files{"/srv": sparse(1 << 40)}, files{"/srv": sparse(1 << 40)}, map[string]string{}},
		"names that are no text": {files{"/srv/\xff": text("a")}, files{"/srv/\xff": text("b")}, map[string]string{"/srv/\xff": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, causes(compared(t, c.a, c.b)))
			assert.Equal(t, c.want, causes(compared(t, c.b, c.a)), "the other way round")
		})
	}
}

// gdbmOf is a database of GNU dbm with one bucket, whose records lie in the
// order in which they are given.
func gdbmOf(records ...string) string {
	const dir, bucket, size, data = 64, 128, 512, 1024
	b := make([]byte, data)
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	put(0, 0x13579acf)
	put(8, dir)
	put(16, 16) // two entries of the directory, for the same bucket
	put(24, size)
	put(dir, bucket)
	put(dir+8, bucket)
	for e := bucket + 112; e+24 <= bucket+size; e += 24 {
		put(e, 1<<32-1)
	}
	for i, r := range records {
		key, value, _ := strings.Cut(r, "=")
		e := bucket + 112 + 24*(len(records)-i)
		put(e, uint32(i))
		put(e+8, uint32(len(b)))
		put(e+16, uint32(len(key)))
		put(e+20, uint32(len(value)))
		b = append(b, key+value+strings.Repeat("stale", i)...)
	}
	return string(b)
}

// auxCacheOf is a cache of ldconfig with libraries of 1 KiB.
func auxCacheOf(inode uint64, names ...string) string {
	b := []byte("glibc-ld.so.auxcache-2.0")
	table, all := []byte{}, ""
	for i, name := range names {
		for _, v := range []uint64{inode + uint64(i), inode * 1000, 1024, 7} {
			table = binary.LittleEndian.AppendUint64(table, v)
		}
		for _, v := range []uint32{0x303, uint32(len(all)), 0, uint32(inode)} {
			table = binary.LittleEndian.AppendUint32(table, v)
		}
		all += name + "\x00"
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(names)))
	return string(binary.LittleEndian.AppendUint32(b, uint32(len(all)))) + string(table) + all
}

// Nothing of what an image holds makes a mask panic.
func FuzzMasks(f *testing.F) {
	f.Add([]byte(auxCacheOf(1, "liba.so.1")))
	f.Add([]byte(shadowLine))
	f.Add([]byte("\xcf\x9a\x57\x13\x00\x10\x00\x00\x28\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("x", 8192)))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, m := range masks {
			m.left(content)
		}
	})
}

// What cannot be read is no difference, and is said.
func TestComparingWhatIsBroken(t *testing.T) {
	f := systemFiles[Linux].with(files{"/srv/x": text("a")})
	broken := func(fsys vfs.FS) *Target { return one(t, fsys) }
	whole := f.build()
	attr, err := vfs.NewTree(whole).ResolveLink(context.Background(), "/srv/x")
	require.NoError(t, err)
	a, b := broken(&brokenFS{whole, map[vfs.Ino]bool{attr.Ino: true}}), broken(f.build())
	c, err := CompareTargets(context.Background(), a, b, audit(t, a, Options{Only: []string{"ssh"}}), audit(t, b, Options{Only: []string{"ssh"}}))
	require.NoError(t, err)
	assert.Empty(t, c.Differences)
	require.NotEmpty(t, c.Unknown)
	assert.Equal(t, "/srv/x", c.Unknown[0].Path)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = CompareTargets(ctx, b, b, audit(t, b, Options{}), audit(t, b, Options{}))
	assert.ErrorIs(t, err, context.Canceled)
}

// Volumes are compared with those of the same place or role; one that is in one
// image only is a difference.
func TestComparingVolumes(t *testing.T) {
	target := func(volumes ...*Volume) *Target { return &Target{Name: "x", Volumes: volumes} }
	tree := func(content string) vfs.FS { return files{"/x": text(content)}.build() }
	a := target(volume("d", "root", tree("1")), volume("e", "inactive", tree("2")), volume("f", "cfg", tree("3")))
	b := target(volume("e", "root", tree("1")), volume("d", "inactive", tree("2")), volume("k", "srv", tree("4")))
	c, err := CompareTargets(context.Background(), a, b, audit(t, a, Options{}), audit(t, b, Options{}))
	require.NoError(t, err)
	require.Len(t, c.Differences, 2)
	assert.Equal(t, []string{"f", InFirst}, []string{c.Differences[0].Volume, c.Differences[0].In})
	assert.Equal(t, []string{"k", InSecond}, []string{c.Differences[1].Other, c.Differences[1].In})
}

// Of a plain copy everything that is secret is reported, also what can be
// guessed; nothing of it is printed.
func TestComparingACopy(t *testing.T) {
	testtool.Sequential(t)
	eachSample(t, func(t *testing.T, system System, s sample) {
		f := systemFiles[system].with(s.bad)
		a, b := one(t, f.build()), one(t, f.build())
		ra, rb := audit(t, a, Options{}), audit(t, b, Options{})
		c, err := CompareTargets(context.Background(), a, b, ra, rb)
		require.NoError(t, err)
		assert.Empty(t, c.Differences)
		in := map[string]bool{}
		for _, s := range c.Shared {
			for _, where := range s.First {
				in[s.Rule+" "+where] = true
			}
			assert.Equal(t, s.First, s.Second)
		}
		for _, x := range ra.Findings {
			if x.secret != "" && x.rule != authorizedKeys && x.rule != sshKnownBadKey {
				assert.True(t, in[x.Rule+" "+x.Where()], "%s %s is in both", x.Rule, x.Where())
			}
			secretive := strings.Contains(x.Evidence, "fingerprint") && !strings.Contains(x.Evidence, "fingerprints")
			assert.True(t, !secretive || x.secret != "", "%s has a fingerprint, and is not compared", x.Rule)
		}
	})
}

// Secrets that images of one audit share are findings of each, and can be
// waived as such.
func TestAcross(t *testing.T) {
	var reports []*Report
	for _, name := range []string{"a.img", "b.img", "c.img", "d.img", "e.img"} {
		f := systemFiles[Linux]
		if name != "c.img" {
			f = f.with(files{"/etc/machine-id": text(oneID)})
		}
		target := one(t, f.build())
		target.Name = name
		reports = append(reports, audit(t, target, Options{Waivers: []*Waiver{{Rule: "shared-secret", Path: "/nothing", Reason: "x"}}}))
	}
	Across(reports)
	assert.Equal(t, []string{"/etc/machine-id"}, found(reports[0], "shared-secret"))
	assert.Equal(t, []string{"/etc/machine-id"}, found(reports[1], "shared-secret"))
	assert.Empty(t, found(reports[2], "shared-secret"))
	assert.Equal(t, []Status{Fail, Fail, Pass}, []Status{status(reports[0], "shared-secret"), status(reports[1], "shared-secret"), status(reports[2], "shared-secret")})
	for _, f := range reports[0].Findings {
		if f.Rule == "shared-secret" {
			assert.Equal(t, "the same as b.img:/etc/machine-id (machine-id-set), and in 2 other images", f.Message)
		}
	}
	had(t, "shared-secret", positive)
	had(t, "shared-secret", negative)
	assert.Len(t, reports[0].Notes, 1)
	assert.True(t, reports[0].Complete())

	// One image alone has nothing to share.
	r := audit(t, one(t, systemFiles[Linux].build()), Options{})
	Across([]*Report{r})
	assert.Equal(t, NotApplicable, status(r, "shared-secret"))
}
