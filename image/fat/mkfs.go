package fat

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// formats are the types that Format makes: "fat" chooses the width of the table
// by the size of the volume.
var formats = []string{"fat", "fat12", "fat16", "fat32", "vfat"}

// A FormatError says why a volume cannot be made as asked for, and what would
// help. It unwraps to EINVAL.
type FormatError struct{ What string }

func (e *FormatError) Error() string { return e.What }

// Unwrap makes errors.Is(err, syscall.EINVAL) true.
func (e *FormatError) Unwrap() error { return syscall.EINVAL }

func cannotMake(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...)}
}

// Format makes an empty volume that fills dev, with the choices of mkfs.fat(8)
// of dosfstools 4.2: the same options give the same fields in the boot sector
// but for the name of the program that made it, and other boot code. "vfat" is
// another name for "fat32".
//
// As in mkfs.fat, up to 62 sectors at the end stay unused, because the number of
// sectors is a multiple of those on a track.
//
// The identifier of the volume is random, unless opt.UUID or opt.Seed says what
// it is. The label is written to the boot sector and to the root directory, with
// opt.Time, in UTC.
func Format(dev blockio.Transaction, opt vfs.FormatOptions) error {
	m, err := newMaker(dev, opt)
	if err != nil {
		return err
	}
	if err := m.write(); err != nil {
		return fmt.Errorf("make FAT%d: %w", m.bits, err)
	}
	return nil
}

// A maker makes one volume.
type maker struct {
	mkfsLayout
	disk    mkfsDisk
	dev     blockio.Transaction
	now     time.Time
	id      uint32
	label   [11]byte // of spaces: none
	hidden  uint32
	collect bool // the change is small enough to be one
}

func newMaker(dev blockio.Transaction, opt vfs.FormatOptions) (*maker, error) {
	m := &maker{dev: dev, now: opt.Time}
	if m.now.IsZero() {
		m.now = time.Now()
	}
	if opt.Hidden != nil {
		m.hidden = *opt.Hidden
	}
	var err error
	if m.label, err = encodeLabel(opt.Label); err != nil {
		return nil, err
	}
	if m.mkfsLayout, m.disk, err = layoutFor(dev.Size(), dev.SectorSize(), opt); err != nil {
		return nil, err
	}
	switch {
	case opt.UUID != "":
		m.id, err = parseVolumeID(opt.UUID)
	case opt.Seed != nil:
		m.id = rand.New(rand.NewPCG(*opt.Seed, uint64(m.sectors))).Uint32()
	default:
		m.id = rand.Uint32()
	}
	return m, err
}

// parseVolumeID reads an identifier as it is shown, "1234-ABCD", or without the
// hyphen.
func parseVolumeID(text string) (uint32, error) {
	digits := text
	if len(text) == 9 && text[4] == '-' {
		digits = text[:4] + text[5:]
	}
	id, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || len(digits) != 8 {
		return 0, cannotMake("the identifier %q is not of the form 1234-ABCD", text)
	}
	return uint32(id), nil
}

// encodeLabel encodes a volume label in code page 437.
func encodeLabel(text string) (label [11]byte, err error) {
	copy(label[:], "           ")
	n := 0
	for _, r := range text {
		c, ok := encodeOEM(r)
		switch {
		case n == len(label):
			return label, cannotMake("the label %q has more than %d characters", text, len(label))
		case r < 0x20 || r == 0x7f || strings.ContainsRune(`"*+,./:;<=>?[\]|`, r):
			return label, cannotMake("the label %q has a %q in it, which FAT does not allow", text, r)
		case !ok:
			return label, cannotMake("the label %q has a %q in it, which code page 437 does not have", text, r)
		case n == 0 && r == ' ':
			return label, cannotMake("the label %q begins with a space", text)
		}
		label[n] = c
		n++
	}
	return label, nil
}

// encodeOEM encodes a rune in code page 437.
func encodeOEM(r rune) (byte, bool) {
	if r < 0x80 {
		return byte(r), true
	}
	for i, c := range cp437 {
		if c == r {
			return byte(0x80 + i), true
		}
	}
	return 0, false
}

// hasLabel reports whether a label was given. "NO NAME" is how a boot sector
// says that there is none.
func (m *maker) hasLabel() bool {
	text := string(trimSpaces(m.label[:]))
	return text != "" && text != unlabelled
}

const unlabelled = "NO NAME"

// labelEntry is the directory entry of the label.
func (m *maker) labelEntry() ondisk.Dirent {
	e := ondisk.Dirent{Name: m.label, Attr: ondisk.AttrLabel}
	if e.Name[0] == ondisk.MarkDeleted {
		e.Name[0] = ondisk.MarkE5
	}
	e.WriteDate, e.WriteTime, _ = fatStamp(m.now)
	e.CreateDate, e.CreateTime, e.AccessDate = e.WriteDate, e.WriteTime, e.WriteDate
	return e
}
