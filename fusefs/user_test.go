package fusefs_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/integration/testtool"
)

// The tests run as root in CI, where mounting takes another way than it does
// for people. So this one starts the test program again as an ordinary user.
//
// fusermount3 opens /dev/fuse with the rights of who calls it. Where no udev
// has opened it to everyone, the helper does that in a mount namespace of its
// own.
const helperEnv = "RESFLASH_FUSEFS_TEST_HELPER"

const nobody = 65534

func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("all tests are run as an ordinary user already")
	}
	testtool.Need(t, "fusermount3")
	needMount(t)
	// Where the user can reach it, unlike t.TempDir, and not in what of /dev is
	// taken away below.
	dir, err := os.MkdirTemp("/tmp", "fusefs-user-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "test")
	copyFile(t, "/proc/self/exe", program)
	home := filepath.Join(dir, "home")
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Chown(home, nobody, nobody))

	for _, scene := range []string{"mount", "write", "closed-device", "no-device", "no-helper"} {
		t.Run(scene, func(t *testing.T) {
			cmd := exec.Command(program)
			cmd.Dir = home
			cmd.Env = append(os.Environ(), helperEnv+"=root:"+scene, "TMPDIR="+home)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s", out)
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	require.NoError(t, err)
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(dst, src)
	require.NoError(t, err)
	require.NoError(t, dst.Close())
}

// userHelper is what the test program does instead of testing.
func userHelper() int {
	who, scene, _ := strings.Cut(os.Getenv(helperEnv), ":")
	var err error
	if who == "root" {
		err = becomeUser(scene)
	} else {
		err = scenes[scene]()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// becomeUser prepares the mount namespace and starts the helper once more, as
// the user.
func becomeUser(scene string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("dev", "/mnt", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	mode := uint32(unix.S_IFCHR | 0o666)
	switch scene {
	case "closed-device":
		mode = unix.S_IFCHR | 0o600
	case "no-device":
		// An empty /dev.
		return errors.Join(unix.Mount("/mnt", "/dev", "", unix.MS_BIND, ""), asUser(scene))
	}
	if err := unix.Mknod("/mnt/fuse", mode, int(unix.Mkdev(10, 229))); err != nil {
		return err
	}
	if err := unix.Chmod("/mnt/fuse", mode&0o777); err != nil { // the umask
		return err
	}
	if err := unix.Mount("/mnt/fuse", "/dev/fuse", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if scene == "no-helper" {
		for _, path := range []string{"/usr/bin/fusermount3", "/usr/bin/fusermount"} {
			// In the way of the program: a file that is none.
			if err := unix.Mount("/dev/null", path, "", unix.MS_BIND, ""); err != nil && err != unix.ENOENT {
				return err
			}
		}
	}
	return asUser(scene)
}

func asUser(scene string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"=user:"+scene)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr // there may be no /dev/null
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd.Run()
}

var scenes = map[string]func() error{
	"mount":         userMounts,
	"write":         userWrites,
	"closed-device": func() error { return cannotMount(fusefs.ErrNoAccess) },
	"no-device":     func() error { return cannotMount(fusefs.ErrNoDevice) },
	"no-helper":     func() error { return cannotMount(fusefs.ErrNoHelper) },
}

func cannotMount(want error) error {
	dir, err := os.MkdirTemp("", "mnt")
	if err != nil {
		return err
	}
	_, err = fusefs.MountOne(dir, fusefs.Volume{FS: memfs.New()}, fusefs.Options{})
	var me *fusefs.MountError
	if !errors.Is(err, want) || !errors.As(err, &me) || me.Hint == "" {
		return fmt.Errorf("got error %v, want %v and a hint", err, want)
	}
	return nil
}

// userMounts does what a person would, and returns what goes wrong.
func userMounts() (err error) {
	dir, err := os.MkdirTemp("", "mnt")
	if err != nil {
		return err
	}
	mem := sample(memfs.New())
	mem.AddFile("/root-only", []byte("secret"), func(a *vfs.Attr) { a.Mode, a.UID, a.GID = vfs.Regular, 0, 0 })
	srv, err := fusefs.MountOne(dir, fusefs.Volume{FS: mem}, fusefs.Options{ReadOnly: true, FSName: `odd,name\image`})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Unmount()) }()

	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	want := `odd,name\134image ` + dir + " fuse.resflash ro,nosuid,nodev,relatime,user_id=65534,group_id=65534"
	if !strings.Contains(string(text), want) {
		return fmt.Errorf("%s\nlacks %s", text, want)
	}
	for path, want := range map[string]string{"root-only": "secret", "closed/inside": "still readable"} {
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || string(got) != want {
			return fmt.Errorf("%s: %q, %v", path, got, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir+"/root-only", &st); err != nil || st.Uid != 0 || st.Mode != unix.S_IFREG {
		return fmt.Errorf("owner and mode are not as stored: %+v, %v", st, err)
	}
	if err := os.Chmod(dir+"/root-only", 0o600); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("chmod: %v", err)
	}
	buf := make([]byte, 100)
	if n, err := unix.Listxattr(dir+"/bin/su", buf); err != nil || strings.Contains(string(buf[:n]), "trusted.") {
		return fmt.Errorf("listxattr: %q, %v", buf[:max(n, 0)], err)
	}

	f, err := os.Open(dir + "/bin/su")
	if err != nil {
		return err
	}
	defer f.Close()
	err = srv.Unmount()
	var me *fusefs.MountError
	if !errors.Is(err, syscall.EBUSY) || !errors.As(err, &me) || me.Hint == "" {
		return fmt.Errorf("unmounting a busy mount: %v", err)
	}
	f.Close()
	if _, err := fusefs.MountOne(filepath.Join(dir, "bin"), fusefs.Volume{FS: mem}, fusefs.Options{}); !errors.Is(err, fusefs.ErrNotEmpty) {
		return fmt.Errorf("mounting on a directory with files: %v", err)
	}
	other, err := os.MkdirTemp("", "mnt")
	if err != nil {
		return err
	}
	second, err := fusefs.MountOne(other, fusefs.Volume{FS: mem}, fusefs.Options{AllowOther: true})
	if err == nil { // where /etc/fuse.conf allows it
		return second.Unmount()
	}
	if !errors.As(err, &me) || !strings.Contains(me.Hint, "user_allow_other") {
		return fmt.Errorf("allow_other: %v", err)
	}
	return nil
}

// userWrites changes what belongs to root, and makes things that are root's.
func userWrites() (err error) {
	dir, err := os.MkdirTemp("", "mnt")
	if err != nil {
		return err
	}
	mem := memfs.New()
	mem.AddDir("/etc", func(a *vfs.Attr) { a.Mode = 0o555 })
	mem.AddFile("/etc/master.passwd", []byte("root:*"), func(a *vfs.Attr) { a.Mode = vfs.Regular | 0o400 })
	mem.AddFile("/su", []byte("program"), func(a *vfs.Attr) { a.Mode = vfs.Regular | 0o4755 })
	mem.AddDir("/tmp", func(a *vfs.Attr) { a.Mode = 0o1777 })
	mem.AddFile("/tmp/of-root", nil)
	srv, err := fusefs.MountOne(dir, fusefs.Volume{FS: mem}, fusefs.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Unmount()) }()

	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if want := dir + " fuse.resflash rw,nosuid,nodev,"; !strings.Contains(string(text), want) {
		return fmt.Errorf("%s\nlacks %s", text, want)
	}
	var errs []error
	try := func(what string, err, want error) {
		if !errors.Is(err, want) {
			errs = append(errs, fmt.Errorf("%s: %v, not %v", what, err, want))
		}
	}
	shows := func(path string, mode, uid uint32) {
		var st unix.Stat_t
		if err := unix.Lstat(dir+path, &st); err != nil || st.Mode&0o7777 != mode || st.Uid != uid || st.Gid != uid {
			errs = append(errs, fmt.Errorf("%s: mode %o, owner %d:%d, %v", path, st.Mode, st.Uid, st.Gid, err))
		}
	}
	try("write to a file of root", os.WriteFile(dir+"/etc/master.passwd", []byte("changed"), 0), nil)
	try("make a file", os.WriteFile(dir+"/etc/new", []byte("x"), 0o640), nil)
	shows("/etc/new", 0o640, 0)
	try("make a directory", os.Mkdir(dir+"/etc/d", 0o711), nil)
	shows("/etc/d", 0o711, 0)
	try("chmod", unix.Chmod(dir+"/etc/new", 0o6755), nil)
	shows("/etc/new", 0o6755, 0)
	try("chown", os.Chown(dir+"/etc/d", 77, 77), nil)
	shows("/etc/d", 0o711, 77)
	try("write to a program", os.WriteFile(dir+"/su", []byte("changed"), 0), nil)
	shows("/su", 0o755, 0)
	try("times", os.Chtimes(dir+"/su", time.Unix(1, 2), time.Unix(3, 4)), nil)
	try("remove from a sticky directory", os.Remove(dir+"/tmp/of-root"), nil)
	shows("/tmp", 0o1777, 0)
	try("make a device", unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), syscall.EPERM)
	try("make a pipe", unix.Mkfifo(dir+"/fifo", 0o600), nil)
	try("rename", os.Rename(dir+"/etc/d", dir+"/d"), nil)
	try("remove", os.RemoveAll(dir+"/etc"), nil)
	return errors.Join(errs...)
}
