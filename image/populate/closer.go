package populate

import (
	"slices"

	"golang.org/x/sys/unix"
)

// A closer closes files some time later, many with one call: the kernel gives out
// the lowest numbers that are free, so those of files that were opened one
// after the other follow each other.
type closer struct{ fds []int }

// closeBatch is how many files wait to be closed.
const closeBatch = 64

// close takes over a file that is not needed any more.
func (c *closer) close(fd int) {
	if c.fds = append(c.fds, fd); len(c.fds) >= closeBatch {
		c.flush()
	}
}

// flush closes all that wait, and says whether there were any.
func (c *closer) flush() bool {
	slices.Sort(c.fds)
	for i := 0; i < len(c.fds); {
		first, n := c.fds[i], 1
		for i+n < len(c.fds) && c.fds[i+n] == first+n {
			n++
		}
		if n == 1 || unix.CloseRange(uint(first), uint(first+n-1), 0) != nil {
			// One, or a kernel that cannot (before 5.9).
			for _, fd := range c.fds[i : i+n] {
				unix.Close(fd)
			}
		}
		i += n
	}
	any := len(c.fds) > 0
	c.fds = c.fds[:0]
	return any
}

// openAt opens a file to read from it, whatever it is, but for what a link points
// to. If no more files can be open, those that wait to be closed are.
func (c *closer) openAt(dirfd int, base string) (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err = unix.Openat(dirfd, base, flags, 0)
	if (err == unix.EMFILE || err == unix.ENFILE) && c.flush() {
		fd, err = unix.Openat(dirfd, base, flags, 0)
	}
	return fd, err
}
