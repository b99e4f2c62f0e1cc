package fsck

import (
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// noName is how a boot sector says that there is no label.
var noName = [11]byte([]byte("NO NAME    "))

// checkLabelEntry checks an entry with the mark of a label. A volume has one,
// without contents, in the root directory. With contents it is a file that has
// the mark by mistake, and so is a directory.
func (c *checker) checkLabelEntry(d *dir, e *entry) error {
	if e.isDir() || c.start(&e.dirent) != 0 {
		f := c.finding(d, e, codeLabelKind, "a file or directory with the mark of a volume label")
		if c.problem(f) {
			e.dirent.Attr &^= ondisk.AttrLabel
			return c.store(d, e)
		}
		return nil
	}
	detail := ""
	switch {
	case !d.isRoot():
		detail = "a volume label that is not in the root directory"
	case c.label != nil:
		detail = "a second volume label"
	}
	if detail != "" {
		f := c.finding(d, e, codeLabelExtra, detail)
		f.Lost = fmt.Sprintf("the label %q", labelText(e.dirent.Name))
		if c.problem(f) {
			return c.remove(d, e)
		}
		return nil
	}
	if e.dirent.Size != 0 {
		f := c.finding(d, e, codeLabelField, fmt.Sprintf("a volume label of %d bytes", e.dirent.Size))
		f.Preen = true
		if c.problem(f) {
			e.dirent.Size = 0
			if err := c.store(d, e); err != nil {
				return err
			}
		}
	}
	if badLabel(e.dirent.Name) {
		f := c.finding(d, e, codeLabelName, fmt.Sprintf("a volume label % x, which is not possible", e.dirent.Name))
		if c.problem(f) {
			e.dirent.Name = mendLabel(e.dirent.Name)
			if err := c.store(d, e); err != nil {
				return err
			}
		}
	}
	c.label = &e.dirent
	return nil
}

// mendLabel puts something else in the place of what is not possible.
func mendLabel(name [11]byte) [11]byte {
	for i, b := range name {
		if badLabelByte(b) || i == 0 && b == ' ' {
			name[i] = '_'
		}
	}
	return name
}

func labelText(name [11]byte) string {
	return strings.TrimRight(shortName(&ondisk.Dirent{Name: name}), " ")
}

// checkLabel compares the label of the boot sector with that of the root
// directory, which is the one that systems show. If only the boot sector has one,
// the root directory gets it, unless it depends on a code page: then it is damage
// more likely than a name.
func (c *checker) checkLabel() error {
	if c.ext.Signature != ondisk.SignatureLabel {
		return nil
	}
	want := noName
	switch {
	case c.label != nil:
		if want = c.label.Name; want[0] == ondisk.MarkE5 {
			want[0] = ondisk.MarkDeleted
		}
	case c.ext.Label != noName && !badLabel(c.ext.Label) && isASCII(c.ext.Label):
		return c.copyLabel()
	}
	if want == c.ext.Label {
		return nil
	}
	if !c.problem(c.labelFinding(fmt.Sprintf("volume label %q, that of the root directory is %q", c.ext.Label[:], want[:]))) {
		return nil
	}
	return c.setLabel(want)
}

func isASCII(name [11]byte) bool {
	for _, b := range name {
		if b >= 0x80 {
			return false
		}
	}
	return true
}

func (c *checker) labelFinding(detail string) vfs.Finding {
	return vfs.Finding{Code: codeLabel, Structure: bootName, Off: int64(c.extOff()) + labelOff, Preen: true, Detail: detail}
}

// setLabel changes the label of the boot sector.
func (c *checker) setLabel(label [11]byte) error {
	c.ext.Label = label
	c.ext.Encode(c.sector, c.extOff())
	return c.writeBoot()
}

// copyLabel makes an entry of the label that is only in the boot sector. Without
// room for one it is given up.
func (c *checker) copyLabel() error {
	if !c.problem(c.labelFinding(fmt.Sprintf("volume label %q, and none in the root directory", c.ext.Label[:]))) {
		return nil
	}
	root, err := c.load(0)
	if err != nil {
		return err
	}
	_, at, ok, err := c.rootSlot(root)
	if err != nil {
		return err
	}
	if !ok {
		return c.setLabel(noName)
	}
	e := ondisk.Dirent{Name: c.ext.Label, Attr: ondisk.AttrLabel, WriteDate: epochDate}
	if e.Name[0] == ondisk.MarkDeleted {
		e.Name[0] = ondisk.MarkE5
	}
	e.Encode(root.slot(at))
	return c.put(root, at)
}

// labelOff is the offset of the label in the extended boot record.
const labelOff = 7
