package fusefs

import (
	"errors"
	"fmt"
	"log"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Server is a mount that is being served.
type Server struct {
	loop  *loop
	raw   *raw
	at    *mountPoint
	ended chan struct{} // closed when the last request has been answered
	done  chan struct{} // closed when the last commit has been made
	err   error         // of the last commit; set before done is closed
}

// requestMax is the largest read the kernel may ask for, in bytes. An answer
// that is spliced must fit into a pipe with its header, and the pipes of
// ordinary users end at 1 MiB.
const requestMax = 512 << 10

func serve(dir string, raw *raw, opt Options) (*Server, error) {
	at, fd, err := mount(dir, raw.writable, opt)
	if err != nil {
		return nil, err
	}
	logger := log.New(logWriter(raw.logOnceWriter(opt.Debug)), "", 0)
	settings := &fuse.MountOptions{
		Debug:         opt.Debug,
		Logger:        logger,
		MaxWrite:      requestMax, // go-fuse: also of reads
		MaxReadAhead:  opt.MaxReadAhead,
		MaxBackground: 64, // requests of read-ahead in flight
		// Nothing changes behind the kernel's back: no need to drop what is
		// cached.
		ExplicitDataCacheControl: true,
		EnableSymlinkCaching:     true,
		ExtraCapabilities:        fuse.CAP_NO_OPENDIR_SUPPORT,
		PanicHandler:             raw.panicked,
	}
	if raw.writable {
		settings.MaxWrite = writeMax // reads are kept smaller by max_read
		settings.ExtraCapabilities |= fuse.CAP_HANDLE_KILLPRIV_V2
	}
	l, err := connect(fd, raw, settings)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount on %s: %w", dir, err), at.unmount(true))
	}
	s := &Server{loop: l, raw: raw, at: at, ended: make(chan struct{}), done: make(chan struct{})}
	go s.serve(opt.CommitEvery)
	at.disarmPoll()
	at.readAhead(opt.MaxReadAhead)
	return s, nil
}

// serve answers requests until the mount ends.
func (s *Server) serve(every time.Duration) {
	defer close(s.done)
	stopped := make(chan struct{})
	if s.raw.writable {
		go func() {
			defer close(stopped)
			s.raw.commitUntil(s.ended, every)
		}()
	} else {
		close(stopped)
	}
	s.loop.serve()
	close(s.ended)
	<-stopped
	s.err = s.raw.end()
}

// Wait returns when the mount has ended, by Unmount or by the hand of someone
// else, and what was changed has been committed. The error is that of the last
// commit: what came after the one before is lost.
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

// Commit makes durable what has been changed so far.
func (s *Server) Commit() error { return s.raw.commit() }

// Writable reports whether any of the volumes is mounted for writing.
func (s *Server) Writable() bool { return s.raw.writable }

// Changes sums up what has been changed so far, by volume, for those that are
// mounted for writing. It may be called until their file systems are closed.
func (s *Server) Changes() []Changes {
	var all []Changes
	for _, v := range s.raw.volumes {
		if v.w != nil {
			all = append(all, v.sum())
		}
	}
	return all
}

// Dir is the absolute path of the mount point.
func (s *Server) Dir() string { return s.at.dir }

// detachTimeout is how long Unmount waits for the kernel to let go.
const detachTimeout = 10 * time.Second

// Unmount ends the mount, and waits until the last request has been answered
// and everything has been committed; its error is that of Wait. While a program has a file open below the mount point, or its working
// directory there, the error is a [*MountError] that wraps EBUSY. Unmounting
// what is unmounted already is no error.
func (s *Server) Unmount() error { return s.end(false) }

// Detach takes the mount out of the tree at once; programs that have files
// open there may go on reading, and Wait returns when they are done.
func (s *Server) Detach() error { return s.end(true) }

func (s *Server) end(lazy bool) error {
	select {
	case <-s.ended:
		return s.Wait()
	default:
	}
	if err := s.at.unmount(lazy); err != nil {
		select {
		case <-s.ended: // someone else was faster
			return s.Wait()
		default:
			return err
		}
	}
	if lazy {
		return nil
	}
	select {
	case <-s.ended:
		return s.Wait()
	case <-time.After(detachTimeout):
		return &MountError{Op: "unmount", Dir: s.at.dir, Err: syscall.EBUSY,
			Hint: "it is gone here, but still in use in another mount namespace (a container?)"}
	}
}
