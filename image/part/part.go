// Package part holds the nouns of partition tables: a [Table] and its
// [Entry] values, in bytes, whatever the format counts in.
//
// One package below this one per format: mbr (with logical partitions), gpt,
// disklabel. Each has Read, which parses a validated value or says with an
// offset what is wrong, and never follows what cannot be true: an entry that
// reaches outside the disk, overlaps another or closes a loop is listed as a
// [Problem] of the table, for the people who look.
package part

import (
	"errors"
	"fmt"
)

// ErrNotFound says that there is no table of this format in a place. The
// errors that wrap it say why.
var ErrNotFound = errors.New("no partition table")

// A Table is a partition table as it was found.
type Table struct {
	Scheme     string // "MBR", "GPT", "disklabel"
	Flavor     string // "OpenBSD", "FreeBSD", "NetBSD" for disklabels; "protective", "hybrid" for MBRs beside a GPT
	Off        int64  // byte offset on the disk of the structure that was used
	Source     string // GPT: "primary" or "backup", whichever copy was used
	ID         string // disk signature "0x1234abcd", disk GUID, DUID "16 hex digits"; empty if none
	Name       string // disklabel: pack name
	SectorSize int    // bytes
	DiskSize   int64  // bytes, as the table has it; 0 where it does not say
	DriveType  string // disklabel: "SCSI", "vnd", "ESDI"; empty elsewhere
	BoundStart int64  // bytes from the start of the disk: the part that partitions may use (GPT: usable range; OpenBSD: d_bstart)
	BoundEnd   int64  // exclusive; 0 where the table does not say
	Parent     *Entry // the partition of an outer table that this one was found in, nil for the outermost
	ParentID   string // what people type for Parent: "p4"
	Entries    []Entry
	Problems   []Problem
}

// An Entry is one partition of a table.
type Entry struct {
	Index      int    // as the format counts: MBR and GPT from 1 (logical from 5), disklabel from 0 (a)
	Start      int64  // bytes from the start of the disk
	Size       int64  // bytes
	Type       string // as the format has it: "0xa6", a type GUID in upper case, disklabel "4.2BSD"
	TypeName   string // for people: "OpenBSD", "EFI System", "Linux root (x86-64)"; empty if not known
	Name       string // GPT partition name
	UUID       string // GPT partition GUID, lower case; MBR "signature-nn" as Linux's PARTUUID
	Attributes uint64 // GPT attribute bits
	Bootable   bool   // MBR: active flag; GPT: legacy BIOS bootable attribute
	Container  bool   // holds other partitions and no file system of its own: extended partition, raw partition c
	FragSize   int    // disklabel: fragment size hint in bytes, 0 if none
	BlockSize  int    // disklabel: block size hint in bytes, 0 if none
	Outside    bool   // reaches beyond the end of the disk: a truncated image, or nonsense
}

// End is the first byte behind the partition.
func (e Entry) End() int64 { return e.Start + e.Size }

// ID is the name people type: "p1", or a letter in a disklabel (a to z, then A
// to Z, as OpenBSD names more than 26).
func (e Entry) ID(scheme string) string {
	if scheme == "disklabel" {
		if e.Index >= 26 {
			return string(rune('A' + e.Index - 26))
		}
		return string(rune('a' + e.Index))
	}
	return fmt.Sprintf("p%d", e.Index)
}

// A Problem is something wrong with a table that did not keep it from being
// read.
type Problem struct {
	Off    int64  // byte offset on the disk of the structure at fault
	Detail string // "partition 2 overlaps partition 1"
}

func (p Problem) Error() string { return fmt.Sprintf("%s (at byte %d)", p.Detail, p.Off) }
