package gpt

import (
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"
	"time"

	diskfs "github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
)

// decodeEntries decodes the partitions of a copy that has been judged good.
//
// go-diskfs reads a table only from a disk, only with entries of 128 bytes, and
// says nothing of which copy failed for which reason. So it gets a disk in
// memory, with this copy as its primary in the plainest form.
func decodeEntries(c *tableCopy) (t *part.Table, err error) {
	defer func() {
		// What it parses is somebody's image; a surprise in there must not take
		// the program down.
		if r := recover(); r != nil {
			t, err = nil, vfs.Corruptf(c.off(), "GUID partition table", "cannot be decoded: %v", r)
		}
	}()
	raw, err := diskfs.Read(plainDisk(c), c.ss, c.ss)
	if err != nil {
		return nil, vfs.Corruptf(c.off(), "GUID partition table", "%v", err)
	}

	h, ss := c.header, c.ss
	t = &part.Table{Scheme: "GPT", Off: c.off(), ID: strings.ToLower(raw.UUID()), SectorSize: ss}
	if end, ok := part.Bytes(max(h.MyLBA, h.AlternateLBA)+1, ss); ok {
		t.DiskSize = end
	}
	first, ok1 := part.Bytes(h.FirstUsable, ss)
	end, ok2 := part.Bytes(h.LastUsable+1, ss)
	if ok1 && ok2 && first <= end {
		t.BoundStart, t.BoundEnd = first, end
	} else {
		t.Problemf(c.off()+40, "the usable range, sector %d to %d, is impossible", h.FirstUsable, h.LastUsable)
	}
	for _, p := range raw.Partitions {
		first, ok1 := part.Bytes(p.Start, ss)
		end, ok2 := part.Bytes(p.End+1, ss)
		if !ok1 || !ok2 || end <= first {
			t.Problemf(c.entryOff(p.Index), "partition p%d, sector %d to %d, is impossible", p.Index, p.Start, p.End)
			continue
		}
		e := part.Entry{
			Index:      p.Index,
			Start:      first,
			Size:       end - first,
			Type:       strings.ToUpper(string(p.Type)),
			Name:       p.Name,
			UUID:       strings.ToLower(p.GUID),
			Attributes: p.Attributes,
			Bootable:   p.Attributes&attrLegacyBoot != 0,
		}
		info, _ := TypeInfo(e.Type)
		e.TypeName = info.Name
		t.Entries = append(t.Entries, e)
	}
	return t, nil
}

// plainDisk lays the copy c out as the primary table of a disk: an empty first
// sector, a header of 92 bytes, entries of 128 bytes from sector 2.
func plainDisk(c *tableCopy) *memoryFile {
	h := c.header
	array := make([]byte, 0, int(h.EntryCount)*entryBytes)
	for rest := c.entries; len(rest) >= int(h.EntrySize); rest = rest[h.EntrySize:] {
		array = append(array, rest[:entryBytes]...)
	}
	disk := make([]byte, 2*c.ss+len(array))
	p := disk[c.ss:]
	copy(p, signature)
	le.PutUint32(p[8:], 0x00010000)
	le.PutUint32(p[12:], headerBytes)
	le.PutUint64(p[24:], 1)
	le.PutUint64(p[32:], max(h.MyLBA, h.AlternateLBA))
	le.PutUint64(p[40:], h.FirstUsable)
	le.PutUint64(p[48:], h.LastUsable)
	copy(p[56:], h.DiskGUID[:])
	le.PutUint64(p[72:], 2)
	le.PutUint32(p[80:], h.EntryCount)
	le.PutUint32(p[84:], entryBytes)
	le.PutUint32(p[88:], crc32.ChecksumIEEE(array))
	le.PutUint32(p[16:], crc32.ChecksumIEEE(p[:headerBytes]))
	copy(disk[2*c.ss:], array)
	return &memoryFile{data: disk}
}

// memoryFile is bytes as the kind of file that go-diskfs reads from.
type memoryFile struct {
	data []byte
	pos  int64
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(f.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

func (f *memoryFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *memoryFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.pos
	case io.SeekEnd:
		off += int64(len(f.data))
	}
	if off < 0 {
		return 0, fmt.Errorf("seek to byte %d: %w", off, fs.ErrInvalid)
	}
	f.pos = off
	return off, nil
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return memoryInfo{f}, nil }
func (f *memoryFile) Close() error               { return nil }

type memoryInfo struct{ f *memoryFile }

func (i memoryInfo) Name() string       { return "gpt" }
func (i memoryInfo) Size() int64        { return int64(len(i.f.data)) }
func (i memoryInfo) Mode() fs.FileMode  { return 0o400 }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) IsDir() bool        { return false }
func (i memoryInfo) Sys() any           { return nil }
