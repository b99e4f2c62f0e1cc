package blockiotest

import (
	"io"
	"io/fs"
	"sync"

	"github.com/resflash/resflash/image/blockio"
)

// Target is what an operation is on.
type Target uint8

// The targets.
const (
	Image Target = iota
	Journal
)

// Kind is what an operation does.
type Kind uint8

// The kinds. An image is only written to and synced.
const (
	Write Kind = iota
	Sync
	Truncate // to Off
	Create
	Remove
)

// An Op is an operation on a medium.
type Op struct {
	On   Target
	Kind Kind
	Off  int64
	Data []byte
}

func (o Op) String() string {
	return [...]string{"image", "journal"}[o.On] + " " +
		[...]string{"write", "sync", "truncate", "create", "remove"}[o.Kind]
}

// A Medium is an image and its journal.
type Medium struct {
	Disk    *Disk
	Journal []byte
	Exists  bool // there is a journal
}

// Clone returns a copy that goes its own way.
func (m *Medium) Clone() *Medium {
	return &Medium{Disk: m.Disk.Clone(), Journal: append([]byte(nil), m.Journal...), Exists: m.Exists}
}

// Apply does an operation.
func (m *Medium) Apply(op Op) {
	switch {
	case op.On == Image:
		if op.Kind == Write {
			m.Disk.WriteAt(op.Data, op.Off)
		}
	case op.Kind == Write:
		if grow := op.Off + int64(len(op.Data)) - int64(len(m.Journal)); grow > 0 {
			m.Journal = append(m.Journal, make([]byte, grow)...)
		}
		copy(m.Journal[op.Off:], op.Data)
	case op.Kind == Truncate:
		if grow := op.Off - int64(len(m.Journal)); grow > 0 {
			m.Journal = append(m.Journal, make([]byte, grow)...)
		}
		m.Journal = m.Journal[:op.Off]
	case op.Kind == Create:
		m.Journal, m.Exists = nil, true
	case op.Kind == Remove:
		m.Journal, m.Exists = nil, false
	}
}

// A Recorder is a medium that remembers every operation on it. It is safe for
// concurrent use.
type Recorder struct {
	mu     sync.RWMutex
	medium *Medium
	ops    []Op
	fault  func(n int, op Op) (keep int, err error)
}

// NewRecorder returns a recorder that works on m.
func NewRecorder(m *Medium) *Recorder { return &Recorder{medium: m} }

// Len is the number of operations so far.
func (r *Recorder) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.ops)
}

// Ops returns the operations so far.
func (r *Recorder) Ops() []Op {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ops[:len(r.ops):len(r.ops)]
}

// Medium returns a copy of what the medium holds now.
func (r *Recorder) Medium() *Medium {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.medium.Clone()
}

// OnOp sets a function that sees every operation before it is done; n counts
// them from 0. An error it returns is that of the operation, of which only the
// first keep bytes are done (a write), or nothing.
func (r *Recorder) OnOp(fault func(n int, op Op) (keep int, err error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

func (r *Recorder) do(op Op) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Data = append([]byte(nil), op.Data...)
	if r.fault != nil {
		if keep, err := r.fault(len(r.ops), op); err != nil {
			op.Data = op.Data[:min(max(keep, 0), len(op.Data))]
			if op.Kind == Write && len(op.Data) > 0 {
				r.ops = append(r.ops, op)
				r.medium.Apply(op)
			}
			return len(op.Data), err
		}
	}
	r.ops = append(r.ops, op)
	r.medium.Apply(op)
	return len(op.Data), nil
}

// Image returns the image, to be written to.
func (r *Recorder) Image() blockio.Writable { return (*recordedImage)(r) }

// Store returns the place of the journal.
func (r *Recorder) Store() blockio.JournalStore { return (*recordedStore)(r) }

type recordedImage Recorder

func (d *recordedImage) Size() int64     { return d.medium.Disk.Size() }
func (d *recordedImage) SectorSize() int { return sectorLen }

func (d *recordedImage) ReadAt(p []byte, off int64) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.medium.Disk.ReadAt(p, off)
}

func (d *recordedImage) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.Size() || int64(len(p)) > d.Size()-off {
		return 0, &blockio.RangeError{Off: off, Len: int64(len(p)), Size: d.Size()}
	}
	return (*Recorder)(d).do(Op{On: Image, Kind: Write, Off: off, Data: p})
}

func (d *recordedImage) Sync() error {
	_, err := (*Recorder)(d).do(Op{On: Image, Kind: Sync})
	return err
}

type recordedStore Recorder

func (s *recordedStore) Name() string { return "test.img.resflash-journal" }

func (s *recordedStore) Open(bool) (blockio.JournalFile, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.medium.Exists {
		return nil, &fs.PathError{Op: "open", Path: s.Name(), Err: fs.ErrNotExist}
	}
	return (*recordedJournal)(s), nil
}

func (s *recordedStore) Create() (blockio.JournalFile, error) {
	_, err := (*Recorder)(s).do(Op{On: Journal, Kind: Create})
	return (*recordedJournal)(s), err
}

func (s *recordedStore) Remove() error {
	_, err := (*Recorder)(s).do(Op{On: Journal, Kind: Remove})
	return err
}

type recordedJournal Recorder

func (j *recordedJournal) Size() (int64, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return int64(len(j.medium.Journal)), nil
}

func (j *recordedJournal) ReadAt(p []byte, off int64) (int, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if off >= int64(len(j.medium.Journal)) {
		return 0, io.EOF
	}
	n := copy(p, j.medium.Journal[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (j *recordedJournal) WriteAt(p []byte, off int64) (int, error) {
	return (*Recorder)(j).do(Op{On: Journal, Kind: Write, Off: off, Data: p})
}

func (j *recordedJournal) Truncate(size int64) error {
	_, err := (*Recorder)(j).do(Op{On: Journal, Kind: Truncate, Off: size})
	return err
}

func (j *recordedJournal) Sync() error {
	_, err := (*Recorder)(j).do(Op{On: Journal, Kind: Sync})
	return err
}

func (j *recordedJournal) Close() error { return nil }
