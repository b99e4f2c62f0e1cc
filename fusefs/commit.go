package fusefs

import (
	"errors"
	"fmt"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Changes become durable as a whole, by a commit: when a program calls fsync or
// fdatasync on any file or directory of the volume, every few seconds if
// something has changed, and when the mount ends. sync(2) and syncfs(2) do not
// get here: the kernel passes them on for its own file systems only.

// commitDefault is how long a change waits for a commit.
const commitDefault = 5 * time.Second

// Flush implements [fuse.RawFileSystem]. ENOSYS: do not ask again. (What was
// written through a mapping, the kernel writes when the file is closed without
// this.)
func (r *raw) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Fsync implements [fuse.RawFileSystem].
func (r *raw) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return r.fsync(in.NodeId) }

// FsyncDir implements [fuse.RawFileSystem].
func (r *raw) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return r.fsync(in.NodeId) }

func (r *raw) fsync(id uint64) fuse.Status {
	if !r.writable {
		return fuse.ENOSYS // nothing to do, ever
	}
	v, _, err := r.find(id)
	if err == nil && v.w != nil {
		err = v.w.commit()
	}
	return r.status(err)
}

// commit commits the volumes of the mount.
func (r *raw) commit() error {
	var errs []error
	for _, v := range r.volumes {
		if v.w == nil {
			continue
		}
		if err := v.w.commit(); err != nil {
			errs = append(errs, v.explain(err))
		}
	}
	return errors.Join(errs...)
}

func (v *volume) explain(err error) error {
	if v.name == "" {
		return fmt.Errorf("commit: %w", err)
	}
	return fmt.Errorf("commit %s: %w", v.name, err)
}

// commitUntil commits at intervals, until stop is closed. What fails is tried
// again, and told when the reason is another one.
func (r *raw) commitUntil(stop <-chan struct{}, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		said := ""
		if err := r.commit(); err != nil {
			said = err.Error()
		}
		switch {
		case said == last:
		case said == "":
			r.logf("changes are saved again")
		default:
			r.logf("changes cannot be saved, and are kept in memory: %s", said)
		}
		last = said
	}
}

// end is called when the kernel has gone.
func (r *raw) end() error {
	var errs []error
	for _, v := range r.volumes {
		if v.w == nil {
			continue
		}
		if err := v.w.end(); err != nil {
			errs = append(errs, v.explain(err))
		}
	}
	return errors.Join(errs...)
}
