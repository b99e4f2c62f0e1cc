package audit

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A sample is a tree that breaks rules and one that is much the same and does
// not. Contents that must never be in a report have the word HUNTER2.
type sample struct {
	rules string // that are broken by bad, and not by good
	bad   files
	good  files
	at    string // where one of the findings is; empty: does not matter
}

// systemFiles make a tree be that of a system.
var systemFiles = map[System]files{
	Linux:   {"/etc/os-release": text("ID=debian\nNAME=Debian\nIMAGE_ID=x\nIMAGE_VERSION=1\n")},
	OpenBSD: {"/etc/signify/openbsd-76-base.pub": text("key\n")},
	FreeBSD: {"/bin/freebsd-version": text("USERLAND_VERSION=\"14.1-RELEASE\"\n")},
}

// samples are one list for each system.
var samples = map[System][]sample{}

func addSamples(system System, list ...sample) bool {
	samples[system] = append(samples[system], list...)
	return true
}

// eachSample calls fn for every sample.
func eachSample(t *testing.T, fn func(t *testing.T, system System, c sample)) {
	for _, system := range []System{Linux, OpenBSD, FreeBSD} {
		for i, c := range samples[system] {
			t.Run(fmt.Sprintf("%s/%s#%d", system, strings.Fields(c.rules)[0], i), func(t *testing.T) { fn(t, system, c) })
		}
	}
}

func TestRules(t *testing.T) {
	eachSample(t, func(t *testing.T, system System, c sample) {
		bad := audit(t, one(t, systemFiles[system].with(c.bad).build()), Options{})
		good := audit(t, one(t, systemFiles[system].with(c.good).build()), Options{})
		for _, rule := range words(c.rules) {
			at := found(bad, rule)
			assert.NotEmpty(t, at, "%s is not found", rule)
			assert.Equal(t, Fail, status(bad, rule), rule)
			if c.at != "" && rule == words(c.rules)[0] {
				assert.Contains(t, at, c.at)
			}
			assert.Empty(t, found(good, rule), "%s is found where it is not broken", rule)
			assert.Contains(t, []Status{Pass, NotApplicable}, status(good, rule), rule)
			had(t, rule, positive)
			had(t, rule, negative)
		}
		assert.True(t, bad.Complete())
	})
}

// Whatever a file turns into, an audit ends, soon, and without a panic; and
// what it could not read it does not call good.
func TestHostile(t *testing.T) {
	testtool.Sequential(t)
	eachSample(t, func(t *testing.T, system System, c sample) {
		all := systemFiles[system].with(c.bad)
		// The families of the rules, which look at the same files.
		var only []string
		for _, r := range Rules() {
			if slices.Contains(words(c.rules), r.ID) {
				only = append(only, r.Family)
			}
		}
		for name := range c.bad {
			for what, odd := range map[string]thing{
				asSymlink: odds[asSymlink], asDir: odds[asDir], asSparse: odds[asSparse], notUTF8: odds[notUTF8],
				"loop": symlink(name), "FIFO": {mode: vfs.FIFO | 0o644}, "device": {mode: vfs.Char | 0o600}, "endless line": text(strings.Repeat("a=", 1<<15)),
			} {
				if c.bad[name].mode.IsDir() {
					continue
				}
				start := time.Now()
				r := audit(t, one(t, all.with(files{name: odd}).build()), Options{Only: only})
				assert.Less(t, time.Since(start), 20*time.Second, "%s as %s", name, what)
				for _, write := range Formats {
					if what == notUTF8 {
						require.NoError(t, write(&bytes.Buffer{}, Tool{}, []*Report{r}))
					}
				}
				had(t, c.rules, what)
			}
		}
		// Contents that cannot be read.
		fsys := all.build()
		target := one(t, fsys)
		broken := &brokenFS{FS: fsys, broken: map[vfs.Ino]bool{}}
		for name, f := range c.bad {
			if attr, err := vfs.NewTree(fsys).ResolveLink(context.Background(), name); err == nil && f.mode.IsRegular() {
				broken.broken[attr.Ino] = true
			}
		}
		target.Volumes[0].Tree = vfs.NewTree(broken)
		before := audit(t, one(t, fsys), Options{})
		r := audit(t, target, Options{})
		for _, rule := range words(c.rules) {
			was := found(before, rule)
			now := found(r, rule)
			if !slices.Equal(was, now) {
				assert.Contains(t, []Status{Unknown, Fail}, status(r, rule), "%s: what could not be read passed", rule)
				assert.False(t, r.Complete())
			}
			had(t, rule, unread)
		}
	})
}

// No format ever prints a secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	eachSample(t, func(t *testing.T, system System, c sample) {
		for _, profile := range Profiles {
			r := audit(t, one(t, systemFiles[system].with(c.bad).build()), Options{Profile: profile})
			for name, write := range Formats {
				var b bytes.Buffer
				require.NoError(t, write(&b, Tool{}, []*Report{r}))
				assert.NotContains(t, strings.ToLower(b.String()), "hunter2", name)
			}
		}
	})
}

// Images are audited side by side, and the rules are shared: the race detector
// saw each audit write the families of the rules anew.
func TestAuditsSideBySideShareTheRules(t *testing.T) {
	for i, c := range samples[Linux][:8] {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			r := audit(t, one(t, systemFiles[Linux].with(c.bad).build()), Options{})
			assert.NotEmpty(t, r.Findings)
		})
	}
}

// The same image gives the same report.
func TestStable(t *testing.T) {
	eachSample(t, func(t *testing.T, system System, c sample) {
		var outputs []string
		for range 2 {
			var b bytes.Buffer
			r := audit(t, one(t, systemFiles[system].with(c.bad).build()), Options{})
			require.NoError(t, JSON(&b, Tool{}, []*Report{r}))
			outputs = append(outputs, b.String())
		}
		assert.Equal(t, outputs[0], outputs[1])
	})
}
