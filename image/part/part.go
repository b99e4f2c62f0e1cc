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
	"fmt"
)

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
}

// End is the first byte behind the partition.
func (e Entry) End() int64 { return e.Start + e.Size }

// ID is the name people type: "p1", or a letter in a disklabel.
func (e Entry) ID(scheme string) string {
	if scheme == "disklabel" {
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
