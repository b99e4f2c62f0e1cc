package audit_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/customize/seal"
	"github.com/resflash/resflash/integration/testtool"
)

// kept are the findings of samples that sealing cannot do away with, although
// their rules have a fix: here its condition does not hold.
var kept = map[string]bool{
	"ssh-host-key": true, "ssh-no-regenerator": true, // there is no ssh-keygen
	"ike-key": true, "snakeoil-key": true, "service-key": true, "credential-secret": true, "tpm-binding": true,
	"iscsi-initiator": true, "resolv-conf": true, "nvme-hostid": true,
	"boot-entry-machine-id": true, "entry-token-machine-id": true, "human-account": true,
	"image-id-missing": true, "image-version-missing": true,
}

// What has a fix is gone when a sample is sealed, or is refused with a reason;
// and when it is sealed again there is nothing to do.
func TestSealedSamples(t *testing.T) {
	testtool.Sequential(t)
	opt := seal.Options{InstallRegenerator: true}
	never := map[string]bool{}
	for _, r := range audit.Rules() {
		opt.OptIn = append(opt.OptIn, r.ID)
		never[r.ID] = r.Fix.Safety == audit.Never
	}
	sealed := map[string]bool{}
	audit.EachSample(t, func(t *testing.T, s audit.Sample) {
		e, err := customize.OnFS(s.FS, customize.Options{})
		require.NoError(t, err)
		r, err := seal.RunTarget(context.Background(), e, s.Target(t), opt)
		require.NoError(t, err)
		left := map[string]bool{}
		for _, f := range r.After.Findings {
			left[f.Rule] = true
			assert.True(t, never[f.Rule] || kept[f.Rule], "%s: %s is still there", f.Rule, f.Where())
		}
		said := map[string]bool{}
		for _, st := range r.Steps {
			assert.NotEqual(t, seal.InVain, st.State, "%v %s", st.Rules, st.Path)
			assert.NotEqual(t, seal.Planned, st.State)
			assert.NotEmpty(t, st.Why, st.Rules)
			for _, rule := range st.Rules {
				said[rule] = said[rule] || st.State != seal.Done
				sealed[rule] = sealed[rule] || st.State == seal.Done && !left[rule]
			}
		}
		for rule := range left {
			assert.True(t, said[rule], "%s is left, and no step says why", rule)
		}

		again, err := seal.RunTarget(context.Background(), e, s.Target(t), opt)
		require.NoError(t, err)
		assert.False(t, again.Changed())
		assert.Equal(t, len(r.After.Findings), len(again.After.Findings))
	})
	for _, r := range audit.Rules() {
		if !never[r.ID] && !kept[r.ID] && !onDisks[r.ID] && r.Family != "free" {
			assert.True(t, sealed[r.ID], "%s: no sample was sealed", r.ID)
		}
	}
}

// Whatever a file turns into, sealing ends without a panic, follows no link out
// of its way, and says what is left.
func TestSealHostile(t *testing.T) {
	testtool.Sequential(t)
	opt := seal.Options{InstallRegenerator: true}
	audit.EachSample(t, func(t *testing.T, s audit.Sample) {
		for what, odd := range s.Odd() {
			e, err := customize.OnFS(odd.FS, customize.Options{})
			require.NoError(t, err)
			r, err := seal.RunTarget(t.Context(), e, odd.Target(t), opt)
			if err != nil {
				assert.NotEmpty(t, err.Error(), what)
				continue
			}
			for _, st := range r.Steps {
				assert.NotEmpty(t, st.Why, "%s: %v", what, st.Rules)
			}
			attr, err := e.Stat(t.Context(), "/victim")
			require.NoError(t, err, what)
			assert.EqualValues(t, len("stays"), attr.Size, "%s: another file was changed", what)
		}
	})
}

// onDisks are rules that only a disk can break; and a seed that others can read
// is removed for another reason.
var onDisks = map[string]bool{"fs-dirty": true, "swap-content": true, "resflash-cfg": true, "random-seed-mode": true,
	"free-space-secret": true, "free-space-data": true, "slack-secret": true, "fs-journal-remnant": true, // TestFree scrubs them
}
