package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// ScrubOptions choose what is scrubbed.
type ScrubOptions struct {
	// Only leaves out the partitions for which it says false; nil: none.
	Only func(*Partition) bool
	// Punch gives free space back to the host, where it can: the image gets
	// holes, also where there were zeros.
	Punch bool
	// Gaps scrubs what lies between partitions and behind the last one, too.
	Gaps bool
	// Count only counts: for a dry run, which would have to keep all the zeros.
	Count bool
	// Progress, if it is not nil, is told how many bytes were looked at.
	Progress func(bytes int64)
}

// A ScrubReport says what a scrub did.
type ScrubReport struct {
	Volumes []*Scrubbed `json:"volumes"`
	Zeroed  int64       `json:"zeroed"`  // bytes that were not zero, in blocks of 512
	Punched int64       `json:"punched"` // bytes given back to the host
}

// Scrubbed says what was done in a partition.
type Scrubbed struct {
	ID      string           `json:"id"`                // of the partition; "gaps": between them
	Zeroed  map[string]int64 `json:"zeroed"`            // bytes, by what they were
	Punched int64            `json:"punched,omitempty"` // bytes
	Skipped string           `json:"skipped,omitempty"` // why nothing was done
}

// Scrub zeroes what the file systems and swap spaces of a disk that was opened
// by [Edit] hold no more: free space, slack, removed names, journals. Only what
// is not zero is written to.
//
// It comes after all edits, as a transaction of its own. First it commits what
// has been done so far, so that what is free then is free in the last commit,
// and zeros can go straight to their place however many they are: whatever
// happens, the image holds that commit, scrubbed more or less. Only what has a
// checksum is left to the next commit, which is the caller's. An image that
// nobody sees yet (a dry run, an output) needs no commit for that, and gets
// none: it appears scrubbed, or not at all.
//
// What was opened by [Partition.Edit] and [Partition.Volume] before is not to
// be used any more: both open the file systems anew.
//
// A file system in which its checker finds a fault, or that must not be written
// to, is left as it is, and so is a partition whose contents are not known; the
// report says so.
func Scrub(ctx context.Context, d *Disk, opt ScrubOptions) (*ScrubReport, error) {
	if d.session == nil {
		return nil, blockio.ErrReadOnly
	}
	if opt.Only == nil {
		opt.Only = func(*Partition) bool { return true }
	}
	refused := map[*Partition]error{}
	for _, p := range d.partitions {
		if p.Content.Kind != KindFilesystem || !opt.Only(p) {
			continue
		}
		// What opening for writing finishes is part of what is committed.
		if _, err := p.Edit(ctx); err != nil {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			refused[p] = err
		}
	}
	if err := d.settle(ctx); err != nil {
		return nil, err
	}
	report := &ScrubReport{Volumes: []*Scrubbed{}}
	for _, p := range d.partitions {
		if !opt.Only(p) {
			continue
		}
		at := p.dev.(*blockio.Section)
		s, err := newScrubber(d, at.Offset(), at.Size(), opt, p.ID)
		if err != nil {
			return nil, err
		}
		if err := s.partition(ctx, p, refused[p]); err != nil {
			return nil, fmt.Errorf("scrub volume %s: %w", p.ID, err)
		}
		report.add(s.done)
	}
	if opt.Gaps {
		s, err := newScrubber(d, 0, d.Size(), opt, "gaps")
		if err != nil {
			return nil, err
		}
		for _, g := range d.Gaps() {
			if !g.Spare {
				continue
			}
			if err := s.wipe(ctx, "space between partitions", g.Off, g.Len, true); err != nil {
				return nil, fmt.Errorf("scrub gaps: %w", err)
			}
		}
		report.add(s.done)
	}
	return report, nil
}

func (r *ScrubReport) add(s *Scrubbed) {
	r.Volumes = append(r.Volumes, s)
	for _, n := range s.Zeroed {
		r.Zeroed += n
	}
	r.Punched += s.Punched
}

// settle makes an end of all edits: they are committed, or, where nobody else
// sees them, seen by everyone who reads through the session. Volumes are opened
// anew from then on.
func (d *Disk) settle(ctx context.Context) error {
	var err error
	if d.session.Private() {
		err = d.session.Flush(ctx)
	} else {
		err = d.session.Commit(ctx)
	}
	if err != nil {
		return err
	}
	for _, p := range d.partitions {
		if p.edit != nil {
			err = errors.Join(err, p.edit.FS.Close())
		}
		p.edit, p.editErr, p.editOnce = nil, nil, sync.Once{}
		p.volume, p.err, p.once = nil, nil, sync.Once{}
	}
	return err
}

// A scrubber zeroes parts of a partition.
type scrubber struct {
	opt  ScrubOptions
	tx   *blockio.TransactionSection
	buf  []byte
	done *Scrubbed
}

// wipeUnit is how finely zeros are told from other bytes, and punchUnit how
// finely space is given back: the block of most hosts.
const (
	wipeUnit  = 512
	punchUnit = 4096
	wipeBytes = 1 << 20
)

func newScrubber(d *Disk, off, size int64, opt ScrubOptions, id string) (*scrubber, error) {
	tx, err := blockio.NewTransactionSection(d.session, off, size)
	if err != nil {
		return nil, err
	}
	return &scrubber{opt, tx, make([]byte, wipeBytes), &Scrubbed{ID: id, Zeroed: map[string]int64{}}}, nil
}

// partition scrubs a partition, whatever it holds.
func (s *scrubber) partition(ctx context.Context, p *Partition, refused error) error {
	switch {
	case refused != nil:
		s.done.Skipped = refused.Error()
		return nil
	case p.Content.Kind == KindSwap:
		return s.swap(ctx, p)
	case p.Content.Kind != KindFilesystem:
		_, err := p.open(ctx)
		s.done.Skipped = err.Error()
		return nil
	}
	return s.filesystem(ctx, p.Content.Driver)
}

// filesystem scrubs the file system that lies in s.tx.
func (s *scrubber) filesystem(ctx context.Context, driver *vfs.Driver) error {
	var fault *vfs.Finding
	err := driver.Check(ctx, s.tx, func(f vfs.Finding) {
		if fault == nil {
			fault = &f
		}
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("check: %w", err)
	case fault != nil:
		s.done.Skipped = "check and repair it first: " + fault.String()
		return nil
	}
	fsys, err := driver.Open(ctx, s.tx)
	if err != nil {
		return err
	}
	defer fsys.Close()
	all, ok := fsys.(vfs.Remnants)
	if !ok {
		s.done.Skipped = (&vfs.NotSupportedError{What: "finding free space in " + driver.Name, Off: -1}).Error()
		return nil
	}
	for r, err := range all.Remnants(ctx) {
		if err != nil {
			return err
		}
		switch {
		case r.Kind == vfs.BehindEnd: // not the file system's
			continue
		case r.Seal != nil:
			err = s.unseal(r)
		default:
			err = s.wipe(ctx, r.Kind.String(), r.Off, r.Len, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// swap zeroes swap space behind its header, which has its UUID and label. The
// BSDs have none; what may be in front of theirs is a boot block and a label.
func (s *scrubber) swap(ctx context.Context, p *Partition) error {
	c := p.Content
	from := int64(0)
	switch {
	case c.Type == "swap (hibernated)":
		s.done.Skipped = "a hibernated system lies in it"
		return nil
	case c.Off > 0:
		from = c.Off + 10 // the magic ends the first page
	case p.Start == 0:
		from = 64 << 10
	}
	return s.wipe(ctx, "swap", from, s.tx.Size()-from, true)
}

// unseal zeroes a range that is covered by a checksum, by way of the journal:
// both change together.
func (s *scrubber) unseal(r vfs.Remnant) error {
	b, err := blockio.ReadFull(s.tx, r.Seal.Off, r.Seal.Len)
	if err != nil {
		return err
	}
	part := b[r.Off-r.Seal.Off:][:r.Len]
	if blockio.IsZero(part) {
		return nil
	}
	s.count(r.Kind.String(), r.Len)
	if s.opt.Count {
		return nil
	}
	clear(part)
	r.Seal.Sum(b)
	_, err = s.tx.WriteAt(b, r.Seal.Off)
	return err
}

// wipe makes zeros of n bytes at off, which the last commit does not need.
func (s *scrubber) wipe(ctx context.Context, kind string, off, n int64, punch bool) error {
	for end := off + n; off < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if end-off > wipeBytes {
			next, err := s.tx.SeekData(off)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if next > off {
				off = next
				continue
			}
		}
		// To the next multiple, so that reads and holes are aligned.
		part := s.buf[:min(end-off, wipeBytes-(s.tx.Offset()+off)%wipeBytes)]
		if _, err := s.tx.ReadAt(part, off); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read at byte %d: %w", off, err)
		}
		if err := s.wipePart(kind, part, off, punch && s.opt.Punch); err != nil {
			return err
		}
		off += int64(len(part))
		if s.opt.Progress != nil {
			s.opt.Progress(int64(len(part)))
		}
	}
	return nil
}

// wipePart makes zeros of the bytes b, which lie at off.
func (s *scrubber) wipePart(kind string, b []byte, off int64, punch bool) error {
	if punch && !s.opt.Count {
		// The host counts from the start of the image.
		skew := s.tx.Offset()
		from := (skew+off+punchUnit-1)/punchUnit*punchUnit - skew
		to := (skew+off+int64(len(b)))/punchUnit*punchUnit - skew
		if from < to {
			done, err := s.tx.Punch(from, to-from)
			if err != nil {
				return err
			}
			if done {
				s.done.Punched += to - from
				s.count(kind, nonZero(b[from-off:to-off]))
				if err := s.write(kind, b[:from-off], off); err != nil {
					return err
				}
				return s.write(kind, b[to-off:], to)
			}
		}
	}
	return s.write(kind, b, off)
}

// write writes zeros over the units of b, which lies at off, that are not zeros,
// as many as lie together at once.
func (s *scrubber) write(kind string, b []byte, off int64) error {
	for at := 0; at < len(b); {
		next := min(at+wipeUnit-int((off+int64(at))%wipeUnit), len(b))
		if blockio.IsZero(b[at:next]) {
			at = next
			continue
		}
		from := at
		for at < len(b) && !blockio.IsZero(b[at:next]) {
			at = next
			next = min(at+wipeUnit, len(b))
		}
		s.count(kind, int64(at-from))
		if s.opt.Count {
			continue
		}
		clear(b[from:at])
		if err := s.tx.WriteData(b[from:at], off+int64(from), true); err != nil {
			return err
		}
	}
	return nil
}

func (s *scrubber) count(kind string, n int64) {
	if n > 0 {
		s.done.Zeroed[kind] += n
	}
}

// nonZero counts the bytes in the units of b that are not zeros.
func nonZero(b []byte) (n int64) {
	for len(b) > 0 {
		unit := b[:min(len(b), wipeUnit)]
		if !blockio.IsZero(unit) {
			n += int64(len(unit))
		}
		b = b[len(unit):]
	}
	return n
}
