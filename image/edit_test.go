package image_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/integration/testtool"
)

// raw makes an image of 1 MiB with no file system in it.
func raw(t *testing.T) (name string, data []byte) {
	name = filepath.Join(t.TempDir(), "raw.img")
	data = bytes.Repeat([]byte("resflash"), mib/8)
	require.NoError(t, os.WriteFile(name, data, 0o644))
	return name, data
}

// put writes to the image's transaction as a driver would, metadata and data.
func put(t *testing.T, d *image.Disk, data []byte) {
	tx := d.Transaction()
	require.NotNil(t, tx)
	for i, p := range [][]byte{bytes.Repeat([]byte("m"), 5000), bytes.Repeat([]byte("d"), 50_000)} {
		off := int64(100_000 * (i + 1))
		var err error
		if i == 0 {
			_, err = tx.WriteAt(p, off)
		} else {
			err = tx.WriteData(p, off, true)
		}
		require.NoError(t, err)
		copy(data[off:], p)
	}
}

func contents(t *testing.T, name string) []byte {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return b
}

// names lists a folder: nothing may be left behind.
func names(t *testing.T, dir string) (list []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestEditInPlace(t *testing.T) {
	name, data := raw(t)
	d, err := image.Edit(ctx, name, image.EditOptions{})
	require.NoError(t, err)
	put(t, d, data)
	require.NoError(t, d.Commit(ctx))
	assert.Equal(t, blockio.Stats{Commits: 1, Data: 50_000, Metadata: 5120 + 512}, d.Stats())
	committed := bytes.Clone(data)
	put(t, d, data)
	_, err = d.Transaction().WriteAt([]byte("never committed"), 0)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	assert.Equal(t, committed, contents(t, name))
	assert.Equal(t, []string{"raw.img"}, names(t, filepath.Dir(name)))
}

func TestDryRunChangesNothing(t *testing.T) {
	name, data := raw(t)
	before := bytes.Clone(data)
	require.NoError(t, os.Chmod(name, 0o444))
	d, err := image.Edit(ctx, name, image.EditOptions{DryRun: true, Output: filepath.Join(filepath.Dir(name), "new.img")})
	require.NoError(t, err, "no permission to write is needed")
	put(t, d, data)
	require.NoError(t, d.Commit(ctx))
	got := make([]byte, len(data))
	_, err = d.Device().ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, data, got)
	require.NoError(t, d.Close())
	assert.Equal(t, before, contents(t, name))
	assert.Equal(t, []string{"raw.img"}, names(t, filepath.Dir(name)))
}

func TestOutputAppearsWithTheFirstCommit(t *testing.T) {
	name, data := raw(t)
	before := bytes.Clone(data)
	dir := t.TempDir()
	out := filepath.Join(dir, "new.img")
	var last int64
	edit := image.EditOptions{Output: out, Progress: func(done, total int64) { last = done }}
	d, err := image.Edit(ctx, name, edit)
	require.NoError(t, err)
	assert.Equal(t, int64(mib), last)
	put(t, d, data)
	assert.NoFileExists(t, out)
	require.NoError(t, d.Commit(ctx))
	assert.Equal(t, data, contents(t, out))
	assert.Equal(t, []string{"new.img"}, names(t, dir))

	// From now on it is an image like any other.
	_, err = image.Edit(ctx, out, image.EditOptions{})
	assert.ErrorIs(t, err, blockio.ErrLocked)
	_, err = d.Transaction().WriteAt([]byte("more"), 10)
	require.NoError(t, err)
	copy(data[10:], "more")
	require.NoError(t, d.Commit(ctx))
	assert.ElementsMatch(t, []string{"new.img", "new.img.resflash-journal"}, names(t, dir))
	require.NoError(t, d.Close())
	assert.Equal(t, data, contents(t, out))
	assert.Equal(t, before, contents(t, name))
	assert.Equal(t, []string{"new.img"}, names(t, dir))

	_, err = image.Edit(ctx, name, edit)
	assert.ErrorIs(t, err, fs.ErrExist, "an output is not written over")
	edit.Output = filepath.Join(dir, "other.img")
	d, err = image.Edit(ctx, name, edit)
	require.NoError(t, err)
	put(t, d, data)
	require.NoError(t, os.WriteFile(edit.Output, nil, 0o600))
	assert.ErrorIs(t, d.Commit(ctx), fs.ErrExist, "nor one that came meanwhile")
	require.NoError(t, os.Remove(edit.Output))
	require.NoError(t, d.Close())
	assert.Equal(t, []string{"new.img"}, names(t, dir), "what was not committed is removed")

	d, err = image.Edit(ctx, name, edit)
	require.NoError(t, err)
	require.NoError(t, d.Commit(ctx))
	require.NoError(t, d.Close())
	assert.Equal(t, before, contents(t, edit.Output), "a commit of nothing is a commit")
	require.NoError(t, os.Remove(edit.Output))

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if d, err = image.Edit(cancelled, name, edit); err == nil {
		d.Close() // a reflink
	}
	assert.Equal(t, []string{"new.img"}, names(t, dir))
}

func TestSecondWriterGetsAClearError(t *testing.T) {
	name, _ := raw(t)
	first, err := image.Edit(ctx, name, image.EditOptions{})
	require.NoError(t, err)
	for _, edit := range []image.EditOptions{{}, {Atomic: true}, {DryRun: true}, {Output: name + ".new"}} {
		_, err = image.Edit(ctx, name, edit)
		require.ErrorIs(t, err, blockio.ErrLocked)
		assert.ErrorContains(t, err, name)
		assert.ErrorContains(t, err, "another process is writing to the image")
		assert.ErrorContains(t, err, "unmount")
	}
	reader, err := image.Open(ctx, name)
	require.NoError(t, err, "reading is possible")
	require.NoError(t, reader.Close())
	require.NoError(t, first.Close())
	dry, err := image.Edit(ctx, name, image.EditOptions{DryRun: true})
	require.NoError(t, err)
	_, err = image.Edit(ctx, name, image.EditOptions{})
	assert.ErrorIs(t, err, blockio.ErrLocked, "a dry run wants the image to stay as it is")
	require.NoError(t, dry.Close())
	second, err := image.Edit(ctx, name, image.EditOptions{})
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

func TestNoPermissionIsSaidClearly(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	name, _ := raw(t)
	require.NoError(t, os.Chmod(name, 0o444))
	_, err := image.Edit(ctx, name, image.EditOptions{})
	assert.ErrorIs(t, err, fs.ErrPermission)
	assert.ErrorContains(t, err, "dry run")
	require.NoError(t, os.Chmod(name, 0o644))
	require.NoError(t, os.Chmod(filepath.Dir(name), 0o555))
	defer os.Chmod(filepath.Dir(name), 0o755)
	_, err = image.Edit(ctx, name, image.EditOptions{})
	assert.ErrorIs(t, err, fs.ErrPermission)
	assert.ErrorContains(t, err, "journal")
}

// The journal of a block device lies in a folder of its own, under one name
// however the device is called.
func TestEditBlockDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a block device is made by root")
	}
	testtool.Need(t, "losetup")
	name, data := raw(t)
	out, err := exec.Command("losetup", "--find", "--show", name).Output()
	if err != nil {
		testtool.Missing(t, "no loop devices: %v", err)
	}
	device := strings.TrimSpace(string(out))
	defer func() { testtool.Run(t, "losetup", "--detach", device) }()
	dir := filepath.Join(t.TempDir(), "journals")
	t.Setenv(blockio.JournalDirVar, dir)
	link := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.Symlink(device, link))

	d, err := image.Edit(ctx, link, image.EditOptions{})
	require.NoError(t, err)
	_, err = image.Edit(ctx, device, image.EditOptions{})
	assert.ErrorIs(t, err, blockio.ErrLocked)
	put(t, d, data)
	require.NoError(t, d.Commit(ctx))
	assert.Equal(t, []string{filepath.Base(device) + blockio.JournalSuffix}, names(t, dir))
	journal := contents(t, filepath.Join(dir, names(t, dir)[0]))
	require.NoError(t, d.Close())
	assert.Empty(t, names(t, dir))
	assert.Equal(t, data, contents(t, device))

	// As if it had been interrupted, and root had kept the journal elsewhere.
	require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(device)+blockio.JournalSuffix), journal, 0o600))
	t.Setenv("XDG_STATE_HOME", filepath.Dir(dir))
	require.NoError(t, os.Rename(dir, filepath.Join(filepath.Dir(dir), "resflash")))
	d, err = image.Edit(ctx, device, image.EditOptions{})
	require.NoError(t, err)
	assert.True(t, d.Recovery().Finished)
	require.NoError(t, d.Close())
	assert.Empty(t, names(t, filepath.Join(filepath.Dir(dir), "resflash")))
}

func TestJournalThatWasRemoved(t *testing.T) {
	name, data := raw(t)
	d, err := image.Edit(ctx, name, image.EditOptions{})
	require.NoError(t, err)
	put(t, d, data)
	require.NoError(t, d.Commit(ctx))
	require.NoError(t, os.Remove(name+blockio.JournalSuffix))
	committed := contents(t, name)
	_, err = d.Transaction().WriteAt([]byte("more"), 0)
	require.NoError(t, err)
	assert.ErrorContains(t, d.Commit(ctx), "removed")
	assert.Equal(t, committed, contents(t, name))
	d.Close()
}

// An interrupted commit is seen by readers, goes into copies, and is finished
// by the next writer.
func TestInterruptedCommitIsFinished(t *testing.T) {
	name, data := raw(t)
	before := bytes.Clone(data)
	d, err := image.Edit(ctx, name, image.EditOptions{})
	require.NoError(t, err)
	put(t, d, data)
	require.NoError(t, d.Commit(ctx))
	// As if the process had been killed: the journal lives, and none of it has
	// come to the image.
	journal := contents(t, name+blockio.JournalSuffix)
	require.NoError(t, d.Close())
	restore := func() {
		image := bytes.Clone(data)
		copy(image[100_000:105_000], before[100_000:])
		require.NoError(t, os.WriteFile(name, image, 0o644))
		require.NoError(t, os.WriteFile(name+blockio.JournalSuffix, journal, 0o644))
	}
	restore()
	disturbed := contents(t, name)
	all := func(d *image.Disk) []byte {
		p := make([]byte, d.Size())
		_, err := d.Device().ReadAt(p, 0)
		require.NoError(t, errors.Join(err))
		return p
	}
	r := open(t, name)
	assert.Equal(t, data, all(r))
	dry, err := image.Edit(ctx, name, image.EditOptions{DryRun: true})
	require.NoError(t, err)
	assert.Equal(t, data, all(dry))
	require.NoError(t, dry.Close())
	out := filepath.Join(t.TempDir(), "new.img")
	c, err := image.Edit(ctx, name, image.EditOptions{Output: out})
	require.NoError(t, err)
	_, err = c.Transaction().WriteAt(data[:1], 0)
	require.NoError(t, err)
	require.NoError(t, c.Commit(ctx))
	require.NoError(t, c.Close())
	assert.Equal(t, data, contents(t, out))
	assert.Equal(t, disturbed, contents(t, name), "none of them has written to it")

	w, err := image.Edit(ctx, name, image.EditOptions{})
	require.NoError(t, err)
	assert.True(t, w.Recovery().Finished)
	assert.Equal(t, data, contents(t, name))
	assert.Equal(t, data, all(r))
	require.NoError(t, w.Close())
	assert.Equal(t, []string{"raw.img"}, names(t, filepath.Dir(name)))

	restore()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("another program"), 102_400)
	require.NoError(t, errors.Join(err, f.Close()))
	for _, open := range []func() (*image.Disk, error){
		func() (*image.Disk, error) { return image.Open(ctx, name) },
		func() (*image.Disk, error) { return image.Edit(ctx, name, image.EditOptions{}) },
	} {
		_, err := open()
		require.ErrorIs(t, err, blockio.ErrForeignJournal)
		assert.ErrorContains(t, err, name+blockio.JournalSuffix)
		assert.ErrorContains(t, err, "byte 102400")
	}
}

// smallHost mounts a file system of size bytes.
func smallHost(t *testing.T, size string) string {
	if os.Geteuid() != 0 {
		t.Skip("a small file system is mounted by root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		testtool.Missing(t, "cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// fill leaves room for n bytes, and returns what gives the rest back.
func fill(t *testing.T, dir string, n int64) (release func()) {
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	f, err := os.Create(filepath.Join(dir, "filler"))
	require.NoError(t, err)
	_, err = io.CopyN(f, zeros{}, int64(st.Bavail)*st.Bsize-n)
	require.NoError(t, errors.Join(err, f.Close()))
	return func() { require.NoError(t, os.Remove(f.Name())) }
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A host that is full during a commit: the image holds the last commit, and the
// error says so. Once there is room, the session goes on.
func TestHostFullDuringCommit(t *testing.T) {
	for name, room := range map[string]int64{
		"no room at all":             0,
		"not enough for the image":   200 << 10, // 512 KiB go to holes
		"not enough for the journal": 900 << 10,
	} {
		t.Run(name, func(t *testing.T) {
			dir := smallHost(t, "16m")
			file := filepath.Join(dir, "a.img")
			require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("resflash"), mib/8), 0o644))
			require.NoError(t, os.Truncate(file, 8*mib))
			before := contents(t, file)
			d, err := image.Edit(ctx, file, image.EditOptions{})
			require.NoError(t, err)
			want := bytes.Clone(before)
			p := bytes.Repeat([]byte("new"), 512<<10/3)
			for _, off := range []int64{100_000, 4 * mib} {
				_, err = d.Transaction().WriteAt(p, off)
				require.NoError(t, err)
				copy(want[off:], p)
			}
			release := fill(t, dir, room)
			err = d.Commit(ctx)
			require.ErrorIs(t, err, syscall.ENOSPC)
			assert.ErrorContains(t, err, "host")
			assert.ErrorContains(t, err, "the image holds the last commit")
			assert.Equal(t, before, contents(t, file))

			// Whoever opens it now finds the last commit.
			copied := filepath.Join(t.TempDir(), "b.img")
			require.NoError(t, os.WriteFile(copied, contents(t, file), 0o644))
			if j, err := os.ReadFile(file + blockio.JournalSuffix); err == nil {
				require.NoError(t, os.WriteFile(copied+blockio.JournalSuffix, j, 0o644))
			}
			again, err := image.Edit(ctx, copied, image.EditOptions{})
			require.NoError(t, err)
			require.NoError(t, again.Close())
			assert.Equal(t, before, contents(t, copied))

			assert.ErrorIs(t, d.Commit(ctx), syscall.ENOSPC)
			release()
			require.NoError(t, d.Commit(ctx))
			assert.Equal(t, want, contents(t, file))
			require.NoError(t, d.Close())
			assert.Equal(t, []string{"a.img"}, names(t, dir))
		})
	}
}
