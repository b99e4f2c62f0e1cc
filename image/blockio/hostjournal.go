package blockio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// JournalSuffix is what the journal of an image adds to its name.
const JournalSuffix = ".resflash-journal"

// JournalDirVar is the environment variable that says where journals of block
// devices are kept.
const JournalDirVar = "RESFLASH_JOURNAL_DIR"

// A HostJournal is a journal in a file of the host: beside an image file, or,
// for a block device, in a folder for such journals.
//
// It holds what the image is to hold, so it is readable for those who may read
// the image, and belongs to whom the image belongs. Conversely, a journal that
// belongs to neither that person, nor root, nor whoever is asking is not obeyed:
// others may be able to put files beside an image.
type HostJournal struct {
	path  string   // where it is made
	also  []string // where one may be, too
	image os.FileInfo
}

// JournalOf returns the place of the journal of an image or block device.
func JournalOf(image *File) (*HostJournal, error) {
	info, err := image.f.Stat()
	if err != nil {
		return nil, err
	}
	// However it is named, there is one journal. A file without a name (as
	// /dev/fd/3 may be) has none.
	path, err := filepath.EvalSymlinks(image.Name())
	if err != nil {
		path = image.Name()
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	j := &HostJournal{image: info}
	if !image.IsBlockDevice() {
		j.path = path + JournalSuffix
		return j, nil
	}
	name := deviceName(path) + JournalSuffix
	for _, dir := range deviceJournalDirs() {
		j.also = append(j.also, filepath.Join(dir, name))
	}
	if len(j.also) > 0 {
		j.path, j.also = j.also[0], j.also[1:]
	}
	return j, nil
}

// RenameTo returns the place of the journal of the image once it has been
// renamed.
func (j *HostJournal) RenameTo(image string) (*HostJournal, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(image))
	if err != nil {
		return nil, err
	}
	c := *j
	c.path, err = filepath.Abs(filepath.Join(dir, filepath.Base(image)+JournalSuffix))
	return &c, err
}

// deviceJournalDirs lists where journals of block devices may be. New ones are
// made in the first.
func deviceJournalDirs() []string {
	var dirs []string
	if dir := os.Getenv(JournalDirVar); dir != "" {
		dirs = append(dirs, dir)
	}
	const system = "/var/lib/resflash"
	if os.Geteuid() == 0 {
		dirs = append(dirs, system)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		dirs = append(dirs, filepath.Join(dir, "resflash"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".local", "state", "resflash"))
	}
	if os.Geteuid() != 0 && len(dirs) > 0 {
		dirs = append(dirs, system) // to read what root has left
	}
	return dirs
}

// deviceName is what a block device is called: by its serial number, where the
// host knows that, since sdb is another device tomorrow.
func deviceName(path string) string {
	name := strings.ReplaceAll(strings.TrimPrefix(path, "/dev/"), "/", "-")
	links, err := os.ReadDir("/dev/disk/by-id")
	if err != nil {
		return name
	}
	for _, l := range links { // in order of their names
		to, err := filepath.EvalSymlinks(filepath.Join("/dev/disk/by-id", l.Name()))
		if err == nil && to == path {
			return l.Name()
		}
	}
	return name
}

// Name is the path of the journal.
func (j *HostJournal) Name() string { return j.path }

// Creatable says why the journal cannot be made, if that is so.
func (j *HostJournal) Creatable() error {
	if j.path == "" {
		return fmt.Errorf("no folder for the journal: set %s", JournalDirVar)
	}
	dir := filepath.Dir(j.path)
	if !j.beside() {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("the journal needs a folder: %w", err)
		}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("changes go through a journal, which cannot be made in %s: %w", dir, err)
	}
	return nil
}

func (j *HostJournal) beside() bool { return j.image.Mode().IsRegular() }

// Open implements [JournalStore].
func (j *HostJournal) Open(write bool) (JournalFile, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	err := fs.ErrNotExist
	for _, path := range append([]string{j.path}, j.also...) {
		var f *os.File
		f, err = os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if errors.Is(err, syscall.ENAMETOOLONG) {
			err = fs.ErrNotExist
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("there is a journal, which has to be read first: %w", err)
		}
		if err = j.trust(f); err != nil {
			f.Close()
			return nil, err
		}
		j.path = path
		return &hostJournalFile{f}, nil
	}
	return nil, err
}

// trust refuses what others may have put in the place of a journal.
func (j *HostJournal) trust(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("journal %s: not a regular file", f.Name())
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != 0 && owner != uint32(os.Geteuid()) && owner != j.image.Sys().(*syscall.Stat_t).Uid {
		return fmt.Errorf("journal %s: belongs to user %d, who has nothing to do with the image: remove it if it is not yours",
			f.Name(), owner)
	}
	return nil
}

// Create implements [JournalStore].
func (j *HostJournal) Create() (JournalFile, error) {
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = j.adopt(f)
	if err == nil {
		err = SyncDir(filepath.Dir(j.path))
	}
	if err != nil {
		f.Close()
		os.Remove(j.path)
		return nil, err
	}
	return &hostJournalFile{f}, nil
}

// adopt gives the journal the owner and the mode of the image.
func (j *HostJournal) adopt(f *os.File) error {
	if !j.beside() {
		return nil // 0600, of whoever works on the device
	}
	st := j.image.Sys().(*syscall.Stat_t)
	if os.Geteuid() == 0 && st.Uid != 0 {
		// So that the owner can finish what root began.
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(j.image.Mode().Perm()&0o044 | 0o600)
}

// Remove implements [JournalStore].
func (j *HostJournal) Remove() error { return os.Remove(j.path) }

// SyncDir makes the names in a directory durable. Some network file systems
// cannot, and need not.
func SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

type hostJournalFile struct{ *os.File }

func (f *hostJournalFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Sync is fdatasync(2), which includes the size. A file that has no name any
// more would be of no use after a crash.
func (f *hostJournalFile) Sync() error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Sys().(*syscall.Stat_t).Nlink == 0 {
		return errJournalGone
	}
	return unix.Fdatasync(int(f.Fd()))
}

var errJournalGone = errors.New("somebody has removed it while it was needed")
