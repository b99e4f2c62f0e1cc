package fusefs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/integration/conformance"
)

// What the kernel shows, which is mostly from its caches, must be what the file
// system says, after every operation; and what the operations answer must be
// what the host's own file system answers.
func TestRandomOperations(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			fsys := memfs.New()
			mnt, _, said := mountWritable(t, fusefs.Volume{FS: fsys}, fusefs.Options{CommitEvery: 50 * time.Millisecond})
			reference, opt := conformance.Reference(t)
			conformance.Random(t, mnt, reference, opt, seed, 600, func(paths []string, fds []int) {
				for _, path := range paths {
					var st unix.Stat_t
					require.NoError(t, unix.Lstat(mnt+path, &st))
					sameAttr(t, fsys, &st, path)
				}
				for _, fd := range fds {
					var st unix.Stat_t
					require.NoError(t, unix.Fstat(fd, &st))
					sameAttr(t, fsys, &st, "open file")
				}
			})
			assert.Empty(t, said.String())

		})
	}
}

// sameAttr compares what stat(2) shows with the attributes of the file.
func sameAttr(t *testing.T, fsys vfs.FS, st *unix.Stat_t, path string) {
	t.Helper()
	want, err := fsys.Getattr(t.Context(), vfs.Ino(st.Ino))
	require.NoError(t, err, path)
	got := vfs.Attr{
		Ino: vfs.Ino(st.Ino), Gen: want.Gen, Mode: vfs.Mode(st.Mode), Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: want.Rdev, Size: st.Size, Blocks: st.Blocks, Flags: want.Flags,
		Atime: time.Unix(st.Atim.Unix()), Mtime: time.Unix(st.Mtim.Unix()), Ctime: time.Unix(st.Ctim.Unix()), Btime: want.Btime,
	}
	for _, at := range []*time.Time{&want.Atime, &want.Mtime, &want.Ctime, &got.Atime, &got.Mtime, &got.Ctime} {
		*at = time.Unix(0, at.UnixNano())
	}
	require.Equal(t, want, got, path)
}

func TestExercise(t *testing.T) {
	mnt, _, said := mountWritable(t, fusefs.Volume{FS: memfs.New()}, fusefs.Options{})
	conformance.ExerciseElsewhere(t, mnt, conformance.Options{}, 1, 600)
	assert.Empty(t, said.String())

}
