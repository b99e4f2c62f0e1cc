package model

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// ID names a file for as long as it exists, whatever inode numbers it has in
// the driver and in the model. The root is 0.
type ID int

// Kind is what an operation does.
type Kind string

// The kinds of operations.
const (
	Create      Kind = "create"
	Link        Kind = "link"
	Unlink      Kind = "unlink"
	Rmdir       Kind = "rmdir"
	Rename      Kind = "rename"
	Setattr     Kind = "setattr"
	Write       Kind = "write"
	Fallocate   Kind = "fallocate"
	SetXattr    Kind = "setxattr"
	RemoveXattr Kind = "removexattr"
	Pin         Kind = "pin"
	Unpin       Kind = "unpin"
	ReadDir     Kind = "readdir"
	Sync        Kind = "sync"
	Reopen      Kind = "reopen"
)

// An Op is one operation. As JSON, it can be stored and done again.
type Op struct {
	Seq  int  `json:"seq"` // number in the run, which also sets the clock
	Kind Kind `json:"op"`

	File ID     `json:"file,omitempty"` // what it is done to or, of Create, what is made
	Dir  ID     `json:"dir,omitempty"`
	Name string `json:"name,omitempty"`
	// Of Rename: where to.
	To     ID     `json:"to,omitempty"`
	ToName string `json:"toName,omitempty"`
	Flags  uint32 `json:"flags,omitempty"` // of Rename and Fallocate

	Node *vfs.NewNode `json:"node,omitempty"` // of Create
	Set  *vfs.SetAttr `json:"set,omitempty"`  // of Setattr

	Off  int64 `json:"off,omitempty"`  // of Write and Fallocate
	Len  int64 `json:"len,omitempty"`  // of Create as well: contents
	Data int   `json:"data,omitempty"` // which contents; 0 is zeros

	// Of ReadDir: what is done to the directory behind Len entries.
	Meanwhile []Op `json:"meanwhile,omitempty"`
}

func (op Op) String() string {
	b, err := json.Marshal(op)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// clock is when the operation number seq happens. Each has a time of its own,
// to the nanosecond.
func clock(seq int) time.Time {
	return time.Unix(1_000_000_000+int64(seq), int64(seq)*7919%1_000_000_000)
}

// noise is what contents are taken from.
var noise = sync.OnceValue(func() []byte {
	p := make([]byte, 4<<20)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(p)
	return p
})

// maxWrite is the most that one Write can write.
const maxWrite = 2 << 20

var zeros = make([]byte, maxWrite)

// data is what a Write writes, and what a file holds at first. It must not be changed.
func (op Op) data() []byte {
	n := min(op.Len, maxWrite)
	if op.Data == 0 {
		return zeros[:n:n]
	}
	at := op.Data % maxWrite
	return noise()[at : at+int(n) : at+int(n)]
}

// A Result is what came of an operation.
type Result struct {
	Attr vfs.Attr // of what returns attributes
	N    int      // of Write
	Err  error
}

// errno is the errno in an error, or 0 if there is none.
func errno(err error) syscall.Errno {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return 0
}

// errSkip says that an operation is about a file that is not there: one that a
// shortened log does not make.
var errSkip = errors.New("no such file in this run")

// A side is one of the two file systems that are compared.
type side struct {
	fs  vfs.WritableFS
	ino map[ID]vfs.Ino
}

// do does op to one side; not ReadDir, Sync and Reopen.
func (s *side) do(ctx context.Context, op Op) Result {
	file, isFile := s.ino[op.File]
	dir, isDir := s.ino[op.Dir]
	switch op.Kind {
	case Create:
		isFile = true
	case Unlink, Rmdir, Rename:
		isFile = true
		if op.Kind == Rename {
			_, isFile = s.ino[op.To]
		}
	case Link:
	default:
		isDir = true
	}
	if !isFile || !isDir {
		return Result{Err: errSkip}
	}
	var r Result
	switch op.Kind {
	case Create:
		node := *op.Node
		if node.Mode.IsRegular() {
			node.Contents = op.data()
		}
		r.Attr, r.Err = s.fs.Create(ctx, dir, op.Name, node)
	case Link:
		r.Attr, r.Err = s.fs.Link(ctx, file, dir, op.Name)
	case Unlink:
		r.Err = s.fs.Unlink(ctx, dir, op.Name)
	case Rmdir:
		r.Err = s.fs.Rmdir(ctx, dir, op.Name)
	case Rename:
		r.Err = s.fs.Rename(ctx, dir, op.Name, s.ino[op.To], op.ToName, vfs.RenameFlags(op.Flags))
	case Setattr:
		r.Attr, r.Err = s.fs.Setattr(ctx, file, *op.Set)
	case Write:
		r.N, r.Err = s.fs.WriteAt(ctx, file, op.data(), op.Off)
	case Fallocate:
		r.Err = s.fs.(vfs.Fallocater).Fallocate(ctx, file, vfs.AllocMode(op.Flags), op.Off, op.Len)
	case SetXattr:
		r.Err = s.fs.(vfs.XattrWriter).SetXattr(ctx, file, op.Name, op.data(), op.Flags == 1, op.Flags == 2)
	case RemoveXattr:
		r.Err = s.fs.(vfs.XattrWriter).RemoveXattr(ctx, file, op.Name)
	case Pin:
		s.fs.Pin(file)
	case Unpin:
		r.Err = s.fs.Unpin(ctx, file)
	}
	return r
}
