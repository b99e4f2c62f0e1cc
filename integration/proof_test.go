package integration

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/testtool"
)

// proof is for what takes too long for every run: make proof does it.
func proof(t *testing.T) {
	t.Helper()
	if os.Getenv("RESFLASH_PROOF") != "1" {
		t.Skip("takes many minutes; make proof runs it")
	}
}

// manyIdentities are packages that make secrets and identities when they are
// installed.
var manyIdentities = strings.Fields("openssh-server dbus systemd open-iscsi nvme-cli ssl-cert bind9 xrdp dropbear rabbitmq-server mdadm cloud-init popularity-contest" +
	" python3-cffi-backend") // the last: debootstrap knows nothing of what is provided under another name

// debianBuild has debootstrap build a system of its own in root.
func debianBuild(t *testing.T, root, cache string, args ...string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	mirror, release := ownRepository(t)
	args = append([]string{"--variant=minbase", "--cache-dir=" + cache, "--include=" + strings.Join(manyIdentities, ",")}, append(args, release, root, mirror)...)
	out, err := exec.CommandContext(ctx, "debootstrap", args...).CombinedOutput()
	if err != nil {
		t.Logf("debootstrap: %s", tailOf(out))
	}
	return err
}

// A comparison is what resflash compare --json prints.
type comparison struct {
	Shared []struct {
		Rule          string
		First, Second []string
	}
	Differences []struct {
		Path, In, Cause, Rule, Reason string
		Changed                       []string
	}
	Unknown []any
}

func compareJSON(t *testing.T, a, b string) *comparison {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "compare", "--json", a, b)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, _ := cmd.Output() // 13 if secrets are shared
	var c comparison
	require.NoError(t, json.Unmarshal(out, &c), errs.String())
	require.Empty(t, c.Unknown)
	return &c
}

// Of two builds of one Debian every path that differs is explained by a rule,
// or masked as noise of the build; of an image and its copy every secret is
// reported.
func TestTwoBuilds(t *testing.T) {
	proof(t)
	if !asRoot {
		testtool.Missing(t, "debootstrap needs root")
	}
	testtool.Need(t, "debootstrap", "mke2fs")
	dir := t.TempDir()
	cache, err := kernelvm.CacheDir()
	require.NoError(t, err)
	cache = filepath.Join(cache, "packages")
	require.NoError(t, os.MkdirAll(cache, 0o755))
	require.NoError(t, debianBuild(t, filepath.Join(dir, "download"), cache, "--download-only"))
	var both sync.WaitGroup
	images := []string{filepath.Join(dir, "one.img"), filepath.Join(dir, "other.img")}
	errs := make([]error, 2)
	for i, img := range images {
		both.Go(func() { errs[i] = debianBuild(t, strings.TrimSuffix(img, ".img"), cache) })
	}
	both.Wait()
	for i, img := range images {
		require.NoError(t, errs[i])
		testtool.Run(t, "mke2fs", "-q", "-t", "ext4", "-d", strings.TrimSuffix(img, ".img"), img, "2G")
	}

	c := compareJSON(t, images[0], images[1])
	assert.Empty(t, c.Shared, "nothing was made once and copied")
	rules, masked := map[string]int{}, 0
	for _, d := range c.Differences {
		switch d.Cause {
		case "rule":
			rules[d.Rule]++
		case "noise":
			masked++
		default:
			assert.Fail(t, "left over", "%s: %s in %s", d.Path, strings.Join(d.Changed, ", "), d.In)
		}
	}
	t.Logf("%d paths differ: %v; %d masked", len(c.Differences), rules, masked)
	for _, rule := range []string{"machine-id-set", "dbus-machine-id-set", "ssh-host-key", "snakeoil-key", "service-key", "iscsi-initiator", "nvme-hostid", "telemetry-id"} {
		assert.NotZero(t, rules[rule], rule)
	}

	testtool.Run(t, "cp", "--sparse=always", images[0], images[1])
	reportedAsShared(t, images[0], images[1], 15)
}

// reportedAsShared requires that every secret of an image is reported as being
// in its copy, too, and that there are not too few.
func reportedAsShared(t *testing.T, img, copied string, atLeast int) {
	t.Helper()
	c := compareJSON(t, img, copied)
	assert.Empty(t, c.Differences)
	shared := map[string]bool{}
	for _, s := range c.Shared {
		assert.Equal(t, s.First, s.Second)
		for _, path := range s.First {
			shared[s.Rule+" "+path] = true
		}
	}
	reports := auditJSON(t, img, copied)
	secrets := 0
	for _, r := range reports {
		for _, f := range r.Findings {
			if !strings.Contains(f.Evidence, "fingerprint") && !strings.Contains(f.Evidence, "SHA256:") || slices.Contains([]string{"authorized-keys", "shared-secret"}, f.Rule) {
				continue
			}
			secrets++
			assert.True(t, shared[f.Rule+" "+f.Path], "%s %s is in both", f.Rule, f.Path)
			assert.Contains(t, r.at(f.Path), "shared-secret", "%s %s", f.Rule, f.Path)
		}
	}
	assert.GreaterOrEqual(t, secrets, 2*atLeast)
	t.Logf("%d secrets, all of them reported as shared", secrets/2)
}
