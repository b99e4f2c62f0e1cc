package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// over is a disk that is edited on a recorded medium.
func over(t *testing.T, rec *blockiotest.Recorder) (*Disk, *Volume) {
	d := &Disk{name: "recorded"}
	d.begin(rec.Image(), blockio.SessionOptions{Atomic: true, Journal: rec.Store()})
	d.dev = d.session
	require.NoError(t, d.find(context.Background()))
	v, err := d.partitions[0].Edit(context.Background())
	require.NoError(t, err)
	return d, v
}

const keptFiles, goneFiles = 6, 4

// checkScrubbed makes sure that a medium is in order: what stays is there, and
// what is removed is there as a whole or not at all.
func checkScrubbed(m *blockiotest.Medium, driver *vfs.Driver) error {
	ctx := context.Background()
	rec := blockiotest.NewRecorder(m)
	if _, err := blockio.Recover(rec.Image(), rec.Store()); err != nil {
		return err
	}
	var findings []error
	err := driver.Check(ctx, rec.Image(), func(f vfs.Finding) { findings = append(findings, errors.New(f.String())) })
	if err := errors.Join(append(findings, err)...); err != nil {
		return err
	}
	fsys, err := driver.Open(ctx, rec.Image())
	if err != nil {
		return err
	}
	tree := vfs.NewTree(fsys)
	same := func(name string, n int) error {
		attr, err := tree.Resolve(ctx, name)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(tree.Reader(ctx, attr))
		if err == nil && string(got) != strings.Repeat(name, n) {
			err = fmt.Errorf("%s is not what it was", name)
		}
		return err
	}
	for i := range keptFiles {
		if err := same(fmt.Sprintf("/kept%d", i), 200*i+1); err != nil {
			return err
		}
	}
	gone := 0
	for i := range goneFiles {
		switch err := same(fmt.Sprintf("/gone%d", i), 3000); {
		case errors.Is(err, fs.ErrNotExist):
			gone++
		case err != nil:
			return err
		}
	}
	if gone != 0 && gone != goneFiles {
		return fmt.Errorf("%d of %d files are gone", gone, goneFiles)
	}
	return nil
}

// Whenever the power fails during a scrub, and whatever of its writes has come
// to the medium, the image holds the state before the edit or the one after it.
func TestScrubAndPowerCuts(t *testing.T) {
	testtool.Sequential(t)
	ctx := context.Background()
	for name, format := range map[string][]string{
		"ext4": {"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-I", "256", "-J", "size=1"},
		"FAT":  {"mkfs.fat", "-F", "16", "-s", "1"},
		"ffs2": nil,
	} {
		t.Run(name, func(t *testing.T) {
			const size = 6 << 20
			file := filepath.Join(t.TempDir(), "image")
			require.NoError(t, os.WriteFile(file, make([]byte, size), 0o644))
			if format != nil {
				testtool.Need(t, format[0])
				testtool.Run(t, format[0], append(format[1:], file)...)
			} else {
				d, err := Edit(ctx, file, EditOptions{New: true})
				require.NoError(t, err)
				require.NoError(t, d.partitions[0].Format(ctx, vfs.FormatOptions{Type: "ffs2"}))
				require.NoError(t, d.Commit(ctx))
				require.NoError(t, d.Close())
			}
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			start := &blockiotest.Medium{Disk: blockiotest.DiskOf(data)}
			rec := blockiotest.NewRecorder(start.Clone())
			d, v := over(t, rec)
			write := func(name string, n int) {
				_, err := v.Tree.WriteFile(ctx, name, strings.NewReader(strings.Repeat(name, n)), vfs.NewNode{Mode: vfs.Regular | 0o644})
				require.NoError(t, err)
			}
			for i := range keptFiles {
				write(fmt.Sprintf("/kept%d", i), 200*i+1)
			}
			for i := range goneFiles {
				write(fmt.Sprintf("/gone%d", i), 3000)
			}
			write("/before", 4000)
			require.NoError(t, d.Commit(ctx))
			require.NoError(t, v.Tree.Remove(ctx, "/before"))
			require.NoError(t, d.Commit(ctx))
			require.NoError(t, d.Close())

			start = rec.Medium().Clone()
			rec = blockiotest.NewRecorder(start.Clone())
			d, v = over(t, rec)
			for i := range goneFiles {
				require.NoError(t, v.Tree.Remove(ctx, fmt.Sprintf("/gone%d", i)))
			}
			report, err := Scrub(ctx, d, ScrubOptions{})
			require.NoError(t, err)
			require.Empty(t, report.Volumes[0].Skipped)
			assert.Greater(t, report.Zeroed, int64(50_000))
			require.NoError(t, d.Commit(ctx))
			require.NoError(t, d.Close())

			driver := v.Partition.Content.Driver
			rnd := rand.New(rand.NewPCG(1, 1))
			cuts := 0
			for r := blockiotest.NewReplay(start, rec.Ops()); ; r.Step() {
				require.NoError(t, checkScrubbed(r.Cut(), driver), "killed at %d", r.At())
				if r.Done() {
					break
				}
				if r.Pending() > 0 {
					require.NoError(t, checkScrubbed(r.Shuffle(rnd), driver), "power cut at %d", r.At())
				}
				cuts++
			}
			t.Logf("%d cuts", cuts)
			assert.Greater(t, cuts, 10)
			end := rec.Medium().Disk.Bytes()
			assert.NotContains(t, string(end), "/gone1/gone1")
			assert.NotContains(t, string(end), "/before/before")
		})
	}
}
