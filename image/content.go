package image

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
)

// The kinds of content.
const (
	KindFilesystem  = "filesystem"  // there is a driver for it
	KindSwap        = "swap"        // swap space
	KindEmpty       = "empty"       // nothing but zeros
	KindUnsupported = "unsupported" // known by name, but not read
	KindUnknown     = "unknown"
)

// Content is what lies in a partition, by its magic numbers.
type Content struct {
	Kind   string
	Type   string      // "ffs", "ext4", "fat", "iso9660"; "swap"; "LUKS", "btrfs", …; empty if not known
	Label  string      // where it can be told without opening: the rest is in vfs.Info
	UUID   string      // likewise
	Off    int64       // byte offset in the partition of the magic that said so
	Driver *vfs.Driver // of KindFilesystem
	Err    error       // why the partition could not be looked into, if so
}

// A magic is a format that is recognised by bytes at a fixed place.
type magic struct {
	name  string
	kind  string
	off   int64 // bytes; from the end of the partition if negative
	bytes string
}

// containers are recognised before any file system: what they hold may look
// like one (a RAID member of a mirror starts with the mirrored file system).
var containers = []magic{
	{"LUKS", KindUnsupported, 0, "LUKS\xba\xbe\x00"},
	{"LUKS (second header)", KindUnsupported, 16384, "SKUL\xba\xbe\x00"},
	{"BitLocker", KindUnsupported, 3, "-FVE-FS-"},
	{"LVM2 physical volume", KindUnsupported, 512, "LABELONE"},
	{"LVM2 physical volume", KindUnsupported, 0, "LABELONE"},
	{"LVM2 physical volume", KindUnsupported, 1024, "LABELONE"},
	{"LVM2 physical volume", KindUnsupported, 1536, "LABELONE"},
	{"Linux RAID member", KindUnsupported, 4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"},
	{"Linux RAID member", KindUnsupported, 0, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"},
}

// magics are the formats that are recognised but not opened, tried after the
// drivers.
var magics = []magic{
	{"squashfs (big-endian)", KindUnsupported, 0, "sqsh"},
	{"btrfs", KindUnsupported, 65536 + 64, "_BHRfS_M"},
	{"XFS", KindUnsupported, 0, "XFSB"},
	{"f2fs", KindUnsupported, 1024, "\x10\x20\xf5\xf2"},
	{"NTFS", KindUnsupported, 3, "NTFS    "},
	{"exFAT", KindUnsupported, 3, "EXFAT   "},
	{"ReFS", KindUnsupported, 3, "ReFS\x00\x00\x00\x00"},
	{"bcachefs", KindUnsupported, 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"bcachefs", KindUnsupported, 4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"},
	{"APFS", KindUnsupported, 32, "NXSB"},
	{"HFS+", KindUnsupported, 1024, "H+\x00\x04"},
	{"HFSX", KindUnsupported, 1024, "HX\x00\x05"},
	{"JFS", KindUnsupported, 32768, "JFS1"},
	{"ReiserFS", KindUnsupported, 65536 + 52, "ReIsEr"},
	{"Reiser4", KindUnsupported, 65536, "ReIsEr4"},
	{"UDF", KindUnsupported, 32768 + 1, "BEA01"},
	{"UDF", KindUnsupported, 32768 + 1, "NSR02"},
	{"cramfs", KindUnsupported, 0, "\x45\x3d\xcd\x28"},
	{"romfs", KindUnsupported, 0, "-rom1fs-"},
	{"UBI", KindUnsupported, 0, "UBI#"},
	{"HAMMER2", KindUnsupported, 0, "\x11\x20\x17\x05\x32\x4d\x41\x48"},
	{"dm-verity hash tree", KindUnsupported, 0, "verity\x00\x00\x01\x00\x00\x00"},
	{"Android sparse image", KindUnsupported, 0, "\x3a\xff\x26\xed\x01\x00"},
	{"qcow2 disk image", KindUnsupported, 0, "QFI\xfb"},
	{"VMDK disk image", KindUnsupported, 0, "KDMV"},
	{"VHDX disk image", KindUnsupported, 0, "vhdxfile"},
	{"VDI disk image", KindUnsupported, 64, "\x7f\x10\xda\xbe"},
	{"gzip-compressed data", KindUnsupported, 0, "\x1f\x8b\x08"},
	{"xz-compressed data", KindUnsupported, 0, "\xfd7zXZ\x00"},
	{"zstd-compressed data", KindUnsupported, 0, "\x28\xb5\x2f\xfd"},
	{"bzip2-compressed data", KindUnsupported, 0, "BZh9"},
}

// zfsUberblock is found at the same place in each of the first slots of a
// vdev label's uberblock ring (128 KiB into the label, 1 KiB apart or more).
const zfsUberblock = "\x0c\xb1\xba\x00\x00\x00\x00\x00"

// recognise finds out what is on dev. Reads that fail make it unknown, with
// the error.
func recognise(dev blockio.Device, e *part.Entry) Content {
	// What must not be mistaken for its contents or leftovers comes first.
	head, err := readHead(dev)
	if err != nil {
		return Content{Kind: KindUnknown, Err: err}
	}
	if c, ok := match(head, containers); ok {
		return c
	}
	if c, ok := recogniseSwap(dev); ok {
		return c
	}
	for _, d := range drivers {
		ok, err := d.Probe(dev)
		if err != nil {
			return Content{Kind: KindUnknown, Err: err}
		}
		if ok {
			return Content{Kind: KindFilesystem, Type: d.Name, Driver: d}
		}
	}
	if c, ok := match(head, magics); ok {
		return c
	}
	if recogniseZFS(dev) {
		return Content{Kind: KindUnsupported, Type: "ZFS", Off: 128 << 10}
	}
	// The BSDs' swap has no header: the label's word is all there is.
	if e != nil && e.Type == "swap" {
		return Content{Kind: KindSwap, Type: "swap"}
	}
	if isEmpty(dev) {
		return Content{Kind: KindEmpty}
	}
	return Content{Kind: KindUnknown}
}

func has(dev blockio.Device, off int64, want string) bool {
	got, err := blockio.ReadFull(dev, off, len(want))
	return err == nil && string(got) == want
}

// readHead reads what serves to compare all magics at once.
func readHead(dev blockio.Device) ([]byte, error) {
	head := make([]byte, 66<<10)
	n, err := dev.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return head[:n], nil
}

func match(head []byte, list []magic) (Content, bool) {
	for _, m := range list {
		end := m.off + int64(len(m.bytes))
		if end <= int64(len(head)) && string(head[m.off:end]) == m.bytes {
			return Content{Kind: m.kind, Type: m.name, Off: m.off}, true
		}
	}
	return Content{}, false
}

// recogniseSwap looks for Linux's swap header, which ends the first page: its
// place depends on the page size of the machine that made it (mkswap(8)).
func recogniseSwap(dev blockio.Device) (Content, bool) {
	for _, page := range []int64{4096, 8192, 16384, 65536} {
		for _, m := range []string{"SWAPSPACE2", "SWAP-SPACE"} {
			if !has(dev, page-10, m) {
				continue
			}
			c := Content{Kind: KindSwap, Type: "swap", Off: page - 10}
			// The header behind the boot block: version, last page, bad pages,
			// UUID (16 bytes at 1036), label (16 bytes at 1052).
			if h, err := blockio.ReadFull(dev, 1036, 32); err == nil && m == "SWAPSPACE2" {
				c.UUID = formatUUID(h[:16])
				c.Label = string(bytes.TrimRight(h[16:], "\x00"))
			}
			return c, true
		}
	}
	for _, m := range []string{"S1SUSPEND\x00", "S2SUSPEND\x00", "LINHIB0001", "ULSUSPEND\x00"} {
		if has(dev, 4096-10, m) {
			return Content{Kind: KindSwap, Type: "swap (hibernated)", Off: 4096 - 10}, true
		}
	}
	return Content{}, false
}

// recogniseZFS wants several uberblocks, as one could be a chance of 64 bits.
func recogniseZFS(dev blockio.Device) bool {
	const label, ring, slot = 256 << 10, 128 << 10, 1 << 10
	found := 0
	for base := int64(0); base < 2*label; base += label {
		buf := make([]byte, ring)
		if _, err := dev.ReadAt(buf, base+ring); err != nil {
			return false
		}
		for at := 0; at < ring; at += slot {
			if u := string(buf[at : at+8]); u == zfsUberblock || u == reverse(zfsUberblock) {
				found++
			}
		}
	}
	return found >= 4
}

func reverse(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// emptyProbe is how much must be zero at both ends of a partition for it to be
// called empty: every superblock that we know lies within it.
const emptyProbe = 1 << 20

// isEmpty reports whether dev was never written, or holds only zeros as far as
// it pays to look: the first MiB and the last.
func isEmpty(dev blockio.Device) bool {
	if hs, ok := dev.(blockio.HoleSeeker); ok {
		if _, err := hs.SeekData(0); err == io.EOF {
			return true
		}
	}
	n := min(dev.Size(), emptyProbe)
	return zeroAt(dev, 0, n) && zeroAt(dev, dev.Size()-n, n)
}

func zeroAt(dev blockio.Device, off, n int64) bool {
	buf := make([]byte, 64<<10)
	for n > 0 {
		k := min(n, int64(len(buf)))
		if _, err := dev.ReadAt(buf[:k], off); err != nil && err != io.EOF {
			return false
		}
		for _, b := range buf[:k] {
			if b != 0 {
				return false
			}
		}
		off, n = off+k, n-k
	}
	return true
}

func formatUUID(b []byte) string {
	h := hex.EncodeToString(b)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}
