package blockio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
)

// interrupted returns a medium on which a commit is complete in the journal and
// has not reached the image, of which old and next are the contents.
func interrupted(t testing.TB) (m *blockiotest.Medium, old, next []byte) {
	data := pattern(300_000)
	start := &blockiotest.Medium{Disk: blockiotest.DiskOf(data)}
	rec := blockiotest.NewRecorder(start.Clone())
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store()})
	next = bytes.Clone(data)
	for _, at := range []int{0, 5120, 6144, 100_000, 299_000} {
		p := bytes.Repeat([]byte{byte(at / 512)}, 1000)
		_, err := s.WriteAt(p, int64(at))
		require.NoError(t, err)
		copy(next[at:], p)
	}
	require.NoError(t, s.Commit(ctx))
	r := blockiotest.NewReplay(start, rec.Ops())
	synced := false
	for !r.Done() && !(synced && r.Next().On == blockiotest.Image) {
		synced = synced || r.Next().On == blockiotest.Journal && r.Next().Kind == blockiotest.Sync
		r.Step()
	}
	require.Equal(t, blockiotest.Write, r.Next().Kind)
	return r.Cut(), data, next
}

func TestReaderSeesTheInterruptedCommit(t *testing.T) {
	m, old, next := interrupted(t)
	rec := blockiotest.NewRecorder(m)
	d, err := blockio.OpenRecovered(rec.Image(), rec.Store())
	require.NoError(t, err)
	require.NotNil(t, d)
	assert.Equal(t, next, readAll(t, d))
	assert.Equal(t, old, readAll(t, rec.Image()))
	assert.Zero(t, rec.Len(), "and writes nothing")

	// A writer finishes the commit, while the reader goes on.
	r, err := blockio.Recover(rec.Image(), rec.Store())
	require.NoError(t, err)
	assert.True(t, r.Finished)
	assert.False(t, r.Dropped)
	assert.Equal(t, next, readAll(t, rec.Image()))
	assert.Equal(t, next, readAll(t, d))
	require.NoError(t, d.Close())

	again, err := blockio.OpenRecovered(rec.Image(), rec.Store())
	require.NoError(t, err)
	assert.Nil(t, again)
	r, err = blockio.Recover(rec.Image(), rec.Store())
	require.NoError(t, err)
	assert.Equal(t, blockio.Recovery{}, r)
}

// A journal that is cut off anywhere, or changed anywhere, is no commit.
func TestDamagedJournalIsDropped(t *testing.T) {
	m, old, next := interrupted(t)
	try := func(change func(journal []byte) []byte) (finished bool) {
		c := m.Clone()
		c.Journal = change(c.Journal)
		rec := blockiotest.NewRecorder(c)
		d, err := blockio.OpenRecovered(rec.Image(), rec.Store())
		require.NoError(t, err)
		r, err := blockio.Recover(rec.Image(), rec.Store())
		require.NoError(t, err)
		require.Equal(t, r.Finished, d != nil)
		require.NotEqual(t, r.Finished, r.Dropped)
		want := old
		if r.Finished {
			want = next
		}
		require.True(t, bytes.Equal(want, readAll(t, rec.Image())))
		return r.Finished
	}
	require.True(t, try(func(j []byte) []byte { return j }))
	for n := 0; n < len(m.Journal); n += 97 {
		require.False(t, try(func(j []byte) []byte { return j[:n] }), "the first %d bytes", n)
	}
	changed := 0
	rnd := rand.New(rand.NewPCG(1, 1))
	for at := 0; at < len(m.Journal); at += 1 + rnd.IntN(4) {
		if at >= 48 && at < 4096 { // nobody looks there
			continue
		}
		if at >= 16 && at < 24 { // the version
			continue
		}
		bit := byte(1) << rnd.IntN(8)
		if try(func(j []byte) []byte { j[at] ^= bit; return j }) {
			changed++
		}
	}
	assert.LessOrEqual(t, changed, 4, "only the bytes of the header between checksum and version mean nothing")
}

func TestJournalOfAnotherImageIsRefused(t *testing.T) {
	for name, change := range map[string]func(m *blockiotest.Medium){
		"byte 6656 of the image": func(m *blockiotest.Medium) { m.Disk.WriteAt([]byte{1, 2, 3}, 7000) },
		"this one has 299999": func(m *blockiotest.Medium) {
			m.Disk = blockiotest.DiskOf(m.Disk.Bytes()[:299_999])
		},
	} {
		m, _, _ := interrupted(t)
		change(m)
		before := m.Disk.Bytes()
		rec := blockiotest.NewRecorder(m)
		_, err := blockio.OpenRecovered(rec.Image(), rec.Store())
		assert.ErrorIs(t, err, blockio.ErrForeignJournal)
		_, err = blockio.Recover(rec.Image(), rec.Store())
		var foreign *blockio.ForeignJournalError
		require.ErrorAs(t, err, &foreign)
		assert.ErrorContains(t, err, name)
		assert.ErrorContains(t, err, rec.Store().Name())
		assert.Zero(t, rec.Len(), "nothing is written")
		assert.Equal(t, before, readAll(t, rec.Image()))
	}
	// What the commit does not touch may have changed: new contents of files do.
	m, _, next := interrupted(t)
	m.Disk.WriteAt([]byte{1, 2, 3}, 50_000)
	copy(next[50_000:], []byte{1, 2, 3})
	rec := blockiotest.NewRecorder(m)
	_, err := blockio.Recover(rec.Image(), rec.Store())
	require.NoError(t, err)
	assert.Equal(t, next, readAll(t, rec.Image()))
}

func TestNewerJournalIsRefused(t *testing.T) {
	m, _, _ := interrupted(t)
	m.Journal = blockio.NewerJournal(m.Journal)
	rec := blockiotest.NewRecorder(m)
	_, err := blockio.Recover(rec.Image(), rec.Store())
	assert.ErrorContains(t, err, "newer resflash")
	_, err = blockio.OpenRecovered(rec.Image(), rec.Store())
	assert.ErrorContains(t, err, "newer resflash")
	assert.Zero(t, rec.Len())
}

// The second commit goes over the journal of the first, which a reader may be
// reading from.
func TestReaderNoticesThatItsJournalIsWrittenOver(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.img")
	require.NoError(t, os.WriteFile(name, pattern(300_000), 0o600))
	file, err := blockio.OpenWritableFile(name)
	require.NoError(t, err)
	defer file.Close()
	journal, err := blockio.JournalOf(file.File)
	require.NoError(t, err)
	s := blockio.NewSession(file, blockio.SessionOptions{Journal: journal})
	model := pattern(300_000)
	write := func(b byte) {
		for _, off := range []int{1000, 100_000} {
			p := bytes.Repeat([]byte{b}, 5000)
			_, err := s.WriteAt(p, int64(off))
			require.NoError(t, err)
			copy(model[off:], p)
		}
	}
	write(1)
	require.NoError(t, s.Commit(ctx))
	d, err := blockio.OpenRecovered(file, journal)
	require.NoError(t, err)
	require.NotNil(t, d, "the journal lives until it is known that the image has it all")
	defer d.Close()
	assert.Equal(t, model, readAll(t, d))
	_, _, ok := d.FileRange(2000, 100)
	assert.False(t, ok, "these bytes are in the journal")
	_, off, ok := d.FileRange(20_000, 100)
	assert.True(t, ok)
	assert.Equal(t, int64(20_000), off)

	write(2)
	require.NoError(t, s.Commit(ctx))
	assert.Equal(t, model, readAll(t, d))
	_, _, ok = d.FileRange(2000, 100)
	assert.True(t, ok)
	require.NoError(t, s.Close())
	assert.Equal(t, model, readAll(t, d))
	assert.NoFileExists(t, name+blockio.JournalSuffix)
}

// What is laid over a hole is data.
func TestHolesUnderWhatIsCollected(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "sparse.img"))
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, file.Truncate(1<<20))
	dev, err := blockio.OpenWritableFile(file.Name())
	require.NoError(t, err)
	defer dev.Close()
	s := blockio.NewSession(dev, blockio.SessionOptions{})
	o := blockio.NewOverlay(dev)
	for _, d := range []blockio.Writable{s, o} {
		hs := d.(blockio.HoleSeeker)
		_, err = hs.SeekData(0)
		assert.Equal(t, io.EOF, err)
		_, err = d.WriteAt(make([]byte, 10_000), 100_000)
		require.NoError(t, err)
		at, err := hs.SeekData(0)
		require.NoError(t, err)
		assert.Equal(t, int64(100_000/512*512), at)
		at, err = hs.SeekHole(at)
		require.NoError(t, err)
		assert.Equal(t, int64((110_000+511)/512*512), at)
		_, err = hs.SeekData(at)
		assert.Equal(t, io.EOF, err)
		_, _, ok := d.(blockio.FileBacked).FileRange(0, 100_001)
		assert.False(t, ok)
		_, _, ok = d.(blockio.FileBacked).FileRange(0, 1000)
		assert.True(t, ok)
	}
}

func TestJournalBesideTheImage(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.img")
	require.NoError(t, os.WriteFile(name, pattern(300_000), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "links"), 0o755))
	link := filepath.Join(dir, "links", "b.img")
	require.NoError(t, os.Symlink("../a.img", link))
	file, err := blockio.OpenWritableFile(link)
	require.NoError(t, err)
	defer file.Close()
	journal, err := blockio.JournalOf(file.File)
	require.NoError(t, err)
	assert.Equal(t, name+".resflash-journal", journal.Name(), "however it was opened")
	_, err = journal.Open(true)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, journal.Creatable())

	for mode, want := range map[os.FileMode]os.FileMode{0o644: 0o644, 0o600: 0o600, 0o666: 0o644, 0o755: 0o644, 0o400: 0o600} {
		require.NoError(t, os.Chmod(name, mode))
		journal, err = blockio.JournalOf(file.File)
		require.NoError(t, err)
		f, err := journal.Create()
		require.NoError(t, err)
		info, err := os.Stat(journal.Name())
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), "as readable as the image: %o", mode)
		_, err = journal.Create()
		assert.ErrorIs(t, err, fs.ErrExist)
		f.Close()
		require.NoError(t, journal.Remove())
	}
	require.NoError(t, os.Symlink("/etc/passwd", journal.Name()))
	_, err = journal.Open(false)
	assert.ErrorIs(t, err, syscall.ELOOP, "a link is not followed")
	_, err = journal.Create()
	assert.ErrorIs(t, err, fs.ErrExist)
	require.NoError(t, os.Remove(journal.Name()))
	require.NoError(t, os.Mkdir(journal.Name(), 0o755))
	_, err = journal.Open(false)
	assert.ErrorContains(t, err, "not a regular file")

	require.NoError(t, os.Remove(journal.Name()))
	if os.Geteuid() != 0 {
		t.Skip("giving a file away needs root")
	}
	require.NoError(t, os.WriteFile(journal.Name(), nil, 0o644))
	require.NoError(t, os.Chown(journal.Name(), 4711, 4711))
	_, err = journal.Open(false)
	assert.ErrorContains(t, err, "belongs to user 4711")
	require.NoError(t, os.Chown(name, 4711, 4711))
	journal, err = blockio.JournalOf(file.File)
	require.NoError(t, err)
	f, err := journal.Open(false)
	require.NoError(t, err, "the owner of the image may have left it")
	f.Close()
	require.NoError(t, journal.Remove())
	f, err = journal.Create()
	require.NoError(t, err)
	f.Close()
	info, err := os.Stat(journal.Name())
	require.NoError(t, err)
	assert.Equal(t, uint32(4711), info.Sys().(*syscall.Stat_t).Uid, "so that the owner can finish what root began")
}

func TestNamesWithoutRoomForAJournal(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("n", 250))
	require.NoError(t, os.WriteFile(long, pattern(1000), 0o600))
	gone, err := os.CreateTemp(dir, "")
	require.NoError(t, err)
	defer gone.Close()
	require.NoError(t, os.Remove(gone.Name()))
	for _, name := range []string{long, fmt.Sprintf("/proc/self/fd/%d", gone.Fd())} {
		file, err := blockio.OpenFile(name)
		require.NoError(t, err)
		defer file.Close()
		journal, err := blockio.JournalOf(file)
		require.NoError(t, err)
		_, err = journal.Open(false)
		assert.ErrorIs(t, err, fs.ErrNotExist, "can be read all the same")
	}
}

// FuzzJournal opens images with arbitrary journals.
func FuzzJournal(f *testing.F) {
	m, data, _ := interrupted(f)
	f.Add(m.Journal)
	f.Add([]byte{})
	f.Add(m.Journal[:5000])
	big := bytes.Clone(m.Journal)
	for i := 4096; i < len(big); i += 96 {
		big[i] ^= 0xff
	}
	f.Add(big)
	f.Fuzz(func(t *testing.T, journal []byte) {
		// The checksums would keep the fuzzer out.
		for _, j := range [][]byte{journal, blockio.FixJournalSums(journal)} {
			medium := &blockiotest.Medium{Disk: blockiotest.DiskOf(data), Journal: j, Exists: true}
			rec := blockiotest.NewRecorder(medium)
			d, err := blockio.OpenRecovered(rec.Image(), rec.Store())
			var seen []byte
			if err == nil && d != nil {
				seen = readAll(t, d)
			}
			r, rerr := blockio.Recover(rec.Image(), rec.Store())
			if (err == nil) != (rerr == nil) {
				t.Fatalf("reader: %v, writer: %v", err, rerr)
			}
			switch {
			case rerr != nil:
				if rec.Len() != 0 {
					t.Fatal("written to in spite of the error")
				}
			case r.Finished:
				if !bytes.Equal(seen, readAll(t, rec.Image())) {
					t.Fatal("reader and writer disagree")
				}
			case d != nil || !bytes.Equal(data, readAll(t, rec.Image())):
				t.Fatal("changed by a journal that was dropped")
			}
			if errors.Is(rerr, io.EOF) {
				t.Fatal("an end of file where none should be seen")
			}
		}
	})
}
