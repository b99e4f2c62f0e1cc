package crashtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/ffs/fsck"
	"github.com/resflash/resflash/image/vfs"
)

// imageVar makes the test binary a writer, which works on the image of that
// name until it is killed.
const imageVar = "RESFLASH_KILL_IMAGE"

var ctx = context.Background()

func TestMain(m *testing.M) {
	if name := os.Getenv(imageVar); name != "" {
		fmt.Fprintln(os.Stderr, write(name, os.Getenv("RESFLASH_KILL_FROM")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	alive = 40 // files there are at a time
	every = 5  // files between two syncs
)

// contents of file n; every file has its own length.
func contents(n int) []byte {
	rnd := rand.New(rand.NewPCG(uint64(n), 0))
	p := make([]byte, rnd.IntN(90_000))
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}

func dirOf(n int) string  { return fmt.Sprintf("d%d", n%3) }
func nameOf(n int) string { return fmt.Sprintf("file%d", n) }

// write makes one file after the other, removes old ones, and says after every
// sync how far it has come.
func write(name, from string) error {
	n, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	d, err := image.Edit(ctx, name, image.EditOptions{})
	if err != nil {
		return err
	}
	v, err := d.Partitions()[0].Edit(ctx)
	if err != nil {
		return err
	}
	w := v.FS.(vfs.WritableFS)
	for ; ; n++ {
		dir, err := w.Lookup(ctx, w.Root(), dirOf(n))
		if errors.Is(err, fs.ErrNotExist) {
			dir, err = w.Create(ctx, w.Root(), dirOf(n), vfs.NewNode{Mode: vfs.Dir | 0o755})
		}
		if err != nil {
			return err
		}
		f, err := w.Create(ctx, dir.Ino, nameOf(n), vfs.NewNode{Mode: vfs.Regular | 0o644})
		if err != nil {
			return err
		}
		if _, err := w.WriteAt(ctx, f.Ino, contents(n), 0); err != nil {
			return err
		}
		if old := n - alive; old >= 0 {
			dir, err := w.Lookup(ctx, w.Root(), dirOf(old))
			if err == nil {
				err = w.Unlink(ctx, dir.Ino, nameOf(old))
			}
			if err != nil {
				return err
			}
		}
		if n%every == 0 {
			if err := w.Sync(ctx); err != nil {
				return err
			}
			fmt.Println(n)
		}
	}
}

// holds returns up to which file the image has come, having looked at all of
// them.
func holds(t *testing.T, d *image.Disk) int {
	v, err := d.Partitions()[0].Volume(ctx)
	require.NoError(t, err)
	last := -1
	there := map[int]bool{}
	require.NoError(t, fs.WalkDir(v.Tree, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		n, err := strconv.Atoi(strings.TrimPrefix(e.Name(), "file"))
		if err != nil {
			return err
		}
		last = max(last, n)
		there[n] = true
		got, err := fs.ReadFile(v.Tree, path)
		if err == nil && string(got) != string(contents(n)) {
			err = fmt.Errorf("%s: other contents", path)
		}
		return err
	}))
	require.Len(t, there, min(alive, last+1))
	for n := last; n > last-alive && n >= 0; n-- {
		require.True(t, there[n], "file %d of %d", n, last)
	}
	return last
}

// A process that is killed at any moment leaves the image with what it had
// synced, or more, and the next one goes on from there.
func TestKilledWriter(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.img")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	require.NoError(t, os.Truncate(name, 8<<20))
	file, err := blockio.OpenWritableFile(name)
	require.NoError(t, err)
	maker := blockio.NewSession(file, blockio.SessionOptions{})
	require.NoError(t, ffs.Format(maker, vfs.FormatOptions{Type: "ffs2", BlockSize: 8192, FragSize: 1024}))
	require.NoError(t, maker.Commit(ctx))
	require.NoError(t, file.Close())

	rnd := rand.New(rand.NewPCG(1, 1))
	last, finished, dropped := -1, 0, 0
	for round := range 20 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), imageVar+"="+name, fmt.Sprintf("RESFLASH_KILL_FROM=%d", last+1))
		var problem strings.Builder
		cmd.Stderr = &problem
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		synced := last
		read := make(chan struct{})
		started := make(chan struct{})
		go func() {
			defer close(read)
			for in := bufio.NewScanner(out); in.Scan(); {
				if n, err := strconv.Atoi(in.Text()); err == nil {
					if synced == last {
						close(started)
					}
					synced = n
				}
			}
		}()
		select {
		case <-started:
		case <-read:
		}
		time.Sleep(time.Duration(rnd.IntN(60_000)) * time.Microsecond)
		cmd.Process.Kill()
		<-read
		cmd.Wait()
		require.Empty(t, problem.String())

		// First as a reader sees it, who writes nothing.
		r, err := image.Open(ctx, name)
		require.NoError(t, err)
		seen := holds(t, r)
		require.NoError(t, r.Close())
		d, err := image.Edit(ctx, name, image.EditOptions{})
		require.NoError(t, err)
		if d.Recovery().Finished {
			finished++
		}
		if d.Recovery().Dropped {
			dropped++
		}
		require.NoError(t, fsck.Check(ctx, d.Device(), func(f vfs.Finding) { assert.Fail(t, f.String(), "round %d", round) }))
		got := holds(t, d)
		require.NoError(t, d.Close())
		require.Equal(t, seen, got)
		require.GreaterOrEqual(t, got, synced, "round %d: lost what was synced", round)
		require.Zero(t, got%every, "round %d: %d is no commit", round, got)
		last = got
	}
	t.Logf("%d files; %d commits had to be finished, %d journals held none", last, finished, dropped)
	assert.Greater(t, last, 90)
}
