package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
)

// A mountReport is what there is to say when a mount has ended: what has
// changed, what went wrong. umount --json prints it.
type mountReport struct {
	Image   string        `json:"image"`
	Volumes []changesJSON `json:"volumes"` // those that were changed
	Notes   []string      `json:"notes"`   // what went wrong while it was in use
	Error   string        `json:"error,omitempty"`
	Code    int           `json:"code,omitempty"`
	Hint    string        `json:"hint,omitempty"`
}

type changesJSON struct {
	Volume  string     `json:"volume,omitempty"`
	Created int64      `json:"created"`
	Removed int64      `json:"removed"`
	Renamed int64      `json:"renamed"`
	Changed int64      `json:"changed"`
	Written int64      `json:"written"` // bytes
	Names   []nameJSON `json:"names"`   // some of them
	More    bool       `json:"more,omitempty"`
}

type nameJSON struct {
	Action string `json:"action"` // created, removed, renamed
	Path   string `json:"path"`
	To     string `json:"to,omitempty"`
}

func newReport(image string, changes []fusefs.Changes, notes []string, err error) mountReport {
	r := mountReport{Image: image, Volumes: []changesJSON{}, Notes: append([]string{}, notes...)}
	for _, c := range changes {
		if !c.Any() {
			continue
		}
		j := changesJSON{
			Volume: c.Volume, Created: c.Created, Removed: c.Removed, Renamed: c.Renamed,
			Changed: c.Changed, Written: c.Written, Names: []nameJSON{}, More: c.More,
		}
		for _, n := range c.Names {
			j.Names = append(j.Names, nameJSON{n.Kind.String(), n.Path, n.To})
		}
		r.Volumes = append(r.Volumes, j)
	}
	if err != nil {
		r.Error, r.Code, r.Hint = err.Error(), exitCode(err), hint(err)
	}
	return r
}

// shownNames is how many names the summary of a mount lists without --verbose.
const shownNames = 10

// print prints what has changed, for people.
func (r mountReport) print(w *world, all bool) {
	if w.quiet {
		return
	}
	for _, line := range r.lines(w, all) {
		w.printf("%s\n", line)
	}
}

// lines are what has changed, for people.
func (r mountReport) lines(w *world, all bool) (list []string) {
	for _, v := range r.Volumes {
		at := r.Image
		if v.Volume != "" && v.Volume != "whole" {
			at += ":" + v.Volume
		}
		text := fmt.Sprintf("%s: %d created, %d removed, ", at, v.Created, v.Removed)
		if v.Renamed > 0 {
			text += fmt.Sprintf("%d renamed, ", v.Renamed)
		}
		list = append(list, fmt.Sprintf("%s%d changed, %s written", w.name(text), v.Changed, size(v.Written)))
		for i, n := range v.Names {
			if i == shownNames && !all {
				list = append(list, "  … (umount --verbose lists them)")
				break
			}
			line := n.Action + " " + n.Path
			if n.To != "" {
				line += " to " + n.To
			}
			list = append(list, "  "+w.name(line))
		}
		if v.More && (all || len(v.Names) <= shownNames) {
			list = append(list, "  … and more")
		}
	}
	return list
}

// err is the error in it.
func (r mountReport) err() error {
	if r.Error == "" {
		return nil
	}
	return &exitError{r.Code, r.Hint, errors.New(r.Error)}
}

// A process that serves a mount holds a socket that is named after the mount's
// device number. umount connects to it before it unmounts, and waits to be
// greeted, lest the socket goes away under it. Then it gets the report when the
// mount has ended, and the end of the connection when the process has let go of
// the image.
func endSocket(device string) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: "@resflash-mount-" + device}
}

// An endListener holds that socket. It is a courtesy: without it umount does
// not wait, that is all.
type endListener struct {
	listener *net.UnixListener
	mu       sync.Mutex
	waiting  []*net.UnixConn
	report   []byte // once it is known
	closed   bool
}

func listenForEnd(dir string) *endListener {
	e := &endListener{}
	m, ok := findMount(dir)
	if !ok {
		return e
	}
	var err error
	if e.listener, err = net.ListenUnix("unix", endSocket(m.device)); err != nil {
		e.listener = nil
		return e
	}
	go func() {
		for {
			c, err := e.listener.AcceptUnix()
			if err != nil {
				return
			}
			e.add(c)
		}
	}()
	return e
}

// greeting is white space before the JSON of the report.
const greeting = "\n"

// How long someone who waits may take to read, and how long umount waits for
// the greeting of a process that may be stuck.
const (
	reportTimeout   = 5 * time.Second
	greetingTimeout = 5 * time.Second
)

func (e *endListener) add(c *net.UnixConn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !trusted(c) {
		c.Close()
		return
	}
	c.SetWriteDeadline(time.Now().Add(reportTimeout))
	if _, err := io.WriteString(c, greeting); err != nil {
		c.Close()
		return
	}
	e.waiting = append(e.waiting, c)
	if e.report != nil {
		e.tell(c)
	}
}

// tell sends the report. Requires e.mu.
func (e *endListener) tell(c *net.UnixConn) {
	c.SetWriteDeadline(time.Now().Add(reportTimeout))
	c.Write(e.report)
}

// send gives everyone who waits the report.
func (e *endListener) send(r mountReport) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.report, _ = json.Marshal(r)
	for _, c := range e.waiting {
		e.tell(c)
	}
}

// close lets everyone go who waits.
func (e *endListener) close() {
	if e.listener != nil {
		e.listener.Close()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for _, c := range e.waiting {
		c.Close()
	}
}

// trusted reports whether the other end belongs to the same person, or root:
// anybody may use a socket in the abstract name space.
func trusted(c *net.UnixConn) bool {
	conn, err := c.SyscallConn()
	if err != nil {
		return false
	}
	uid := -1
	conn.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	own := os.Geteuid()
	return uid == 0 || uid == own || own == 0 && uid >= 0
}

// maxReport bounds what is read of a report.
const maxReport = 16 << 20

// An endWaiter is the other end of the connection.
type endWaiter struct{ conn *net.UnixConn }

// awaitEnd connects to the process that serves a mount.
func awaitEnd(m hostMount) endWaiter {
	c, err := net.DialUnix("unix", nil, endSocket(m.device))
	if err != nil {
		return endWaiter{}
	}
	c.SetReadDeadline(time.Now().Add(greetingTimeout))
	if _, err := io.ReadFull(c, make([]byte, len(greeting))); err != nil || !trusted(c) {
		c.Close()
		return endWaiter{}
	}
	c.SetReadDeadline(time.Time{})
	return endWaiter{c}
}

// wait returns the report when the process that served the mount has let go of
// the image, or what there is of it when ctx ends. ok says that there was
// someone to wait for. If it takes longer than patience, slow is called, by the
// caller's goroutine.
func (e endWaiter) wait(ctx context.Context, patience time.Duration, slow func()) (r mountReport, ok bool, err error) {
	if e.conn == nil {
		return r, false, nil
	}
	defer e.conn.Close()
	type answer struct {
		data []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(e.conn, maxReport))
		read <- answer{data, err}
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	stop := ctx.Done()
	for {
		select {
		case <-late.C:
			slow()
		case <-stop:
			e.conn.SetReadDeadline(time.Now())
			stop = nil
		case a := <-read:
			switch {
			case len(a.data) > 0:
				return r, true, json.Unmarshal(a.data, &r)
			case a.err != nil:
				return r, true, a.err
			}
			return r, true, errors.New("the process that served the mount died: the image is as of the last commit")
		}
	}
}

// close gives up waiting.
func (e endWaiter) close() {
	if e.conn != nil {
		e.conn.Close()
	}
}
