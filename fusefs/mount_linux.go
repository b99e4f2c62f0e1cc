package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// fsType is what findmnt(8) shows behind "fuse." as the type.
const fsType = "resflash"

// mountPoint is a directory that we have mounted on.
type mountPoint struct {
	dir    string
	direct bool // by mount(2) itself, as root; otherwise through fusermount3
}

// mount mounts a new FUSE file system on dir and returns the file descriptor
// that its requests come from. (go-fuse can do this, but lets fusermount3 talk
// to the terminal and keeps its reasons from us.)
func mount(dir string, writable bool, opt Options) (*mountPoint, int, error) {
	path, err := checkDir(dir)
	if err != nil {
		return nil, -1, err
	}
	fail := func(err error, hint string) (*mountPoint, int, error) {
		return nil, -1, &MountError{Op: "mount on", Dir: dir, Err: err, Hint: hint}
	}
	if _, err := os.Stat(fuseDevice); err != nil {
		return fail(ErrNoDevice, "modprobe fuse, as root; in a container, pass the device in")
	}
	if os.Geteuid() == 0 {
		fd, err := mountDirect(path, writable, opt)
		if err == nil {
			return &mountPoint{dir: path, direct: true}, fd, nil
		}
		if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EACCES) {
			return fail(err, "")
		}
		// Root without the capability to mount: the helper may have it.
	}
	helper, err := findHelper()
	if err != nil {
		return fail(ErrNoHelper, "install the package fuse3")
	}
	// The helper opens the device with our permissions, not with its own.
	if unix.Access(fuseDevice, unix.R_OK|unix.W_OK) != nil {
		return fail(ErrNoAccess, "chmod 666 "+fuseDevice+", as root; udev does so where it runs")
	}
	fd, err := mountHelper(helper, path, writable, opt)
	if err != nil {
		hint := ""
		if strings.Contains(err.Error(), "user_allow_other") {
			hint = "do without --allow-other, or ask root to add user_allow_other to /etc/fuse.conf"
		}
		return fail(err, hint)
	}
	return &mountPoint{dir: path}, fd, nil
}

const fuseDevice = "/dev/fuse"

// mountDirect does what fusermount3 does, for those who may.
func mountDirect(dir string, writable bool, opt Options) (int, error) {
	fd, err := unix.Open(fuseDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), requestMax)
	if opt.AllowOther {
		data += ",allow_other"
	}
	source := opt.FSName
	if source == "" {
		source = fsType
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if !writable {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(source, dir, "fuse."+fsType, flags, data); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// findHelper returns the set-uid program that mounts for ordinary users.
func findHelper() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
		for _, dir := range []string{"/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", exec.ErrNotFound
}

// mountHelper has fusermount3 mount, and send back the file descriptor over a
// socket whose number it finds in _FUSE_COMMFD.
func mountHelper(helper, dir string, writable bool, opt Options) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount"), os.NewFile(uintptr(pair[1]), "fusermount")
	defer ours.Close()
	defer theirs.Close()

	mode := "ro"
	if writable {
		mode = "rw"
	}
	options := []string{mode, "nosuid", "nodev", "subtype=" + fsType, fmt.Sprintf("max_read=%d", requestMax)}
	if opt.FSName != "" {
		options = append(options, "fsname="+strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(opt.FSName))
	}
	if opt.AllowOther {
		options = append(options, "allow_other")
	}
	cmd := exec.Command(helper, "-o", strings.Join(options, ","), "--", dir)
	cmd.ExtraFiles = []*os.File{theirs} // becomes 3
	if err := runHelper(cmd, "_FUSE_COMMFD=3"); err != nil {
		return -1, err
	}
	fd, err := receiveFD(ours)
	if err != nil {
		return -1, fmt.Errorf("%s sent no file descriptor: %w", filepath.Base(helper), err)
	}
	return fd, nil
}

// runHelper runs fusermount3; its own words are the error.
func runHelper(cmd *exec.Cmd, env ...string) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if text := strings.TrimSpace(said.String()); text != "" {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
}

// receiveFD takes one file descriptor out of a socket.
func receiveFD(sock *os.File) (int, error) {
	data, control := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(sock.Fd()), data, control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return -1, err
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.New("an empty message")
}

// unmount ends the mount; lazy takes it away while it is in use.
func (m *mountPoint) unmount(lazy bool) error {
	var err error
	if m.direct {
		flags := unix.UMOUNT_NOFOLLOW
		if lazy {
			flags |= unix.MNT_DETACH
		}
		err = unix.Unmount(m.dir, flags)
	} else if helper, e := findHelper(); e != nil {
		err = ErrNoHelper
	} else {
		args := []string{"-u"}
		if lazy {
			args = append(args, "-z")
		}
		err = runHelper(exec.Command(helper, append(args, "--", m.dir)...))
		if err != nil && strings.Contains(strings.ToLower(err.Error()), syscall.EBUSY.Error()) {
			err = syscall.EBUSY
		}
	}
	if err == nil {
		return nil
	}
	hint := ""
	if errors.Is(err, syscall.EBUSY) {
		hint = "a program has a file open or its working directory there; fuser -vm " + m.dir + " shows which"
	}
	return &MountError{Op: "unmount", Dir: m.dir, Err: err, Hint: hint}
}

// disarmPoll makes the kernel send its one POLL request now, which go-fuse
// answers with ENOSYS. If it came when this process opens a file of its own
// mount, the Go runtime would wait for the answer with all threads that could
// give it.
func (m *mountPoint) disarmPoll() {
	fd, err := unix.Open(filepath.Join(m.dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
}

// readAhead sets how far the kernel reads ahead. Each request carries that
// much, and a request costs as much as copying a hundred kilobytes; but more
// than the kernel's 128 KiB can only be had from sysfs, by root. What cannot be
// set stays as it is.
func (m *mountPoint) readAhead(bytes int) {
	if bytes == 0 {
		bytes = requestMax
	}
	var st unix.Stat_t
	if !m.direct || unix.Stat(m.dir, &st) != nil {
		return
	}
	name := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	_ = os.WriteFile(name, fmt.Appendf(nil, "%d", bytes>>10), 0)
}
