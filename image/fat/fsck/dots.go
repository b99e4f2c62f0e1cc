package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// isFalseDir reports whether what an entry says is a directory is none: neither
// "." nor ".." is where it should be, but something else.
func (c *checker) isFalseDir(e *entry) (bool, error) {
	var p, zero [2 * ondisk.DirentSize]byte
	if err := c.read(p[:], c.clusterOff(c.start(&e.dirent))); err != nil {
		return false, err
	}
	if [11]byte(p[:11]) == dots[0] || [11]byte(p[ondisk.DirentSize:][:11]) == dots[1] {
		return false, nil
	}
	// A directory that was wiped is empty from now on.
	return p != zero || e.dirent.Size != 0, nil
}

// checkDots checks "." and "..".
func (c *checker) checkDots(d *dir) error {
	r := c.dirs[d.ref]
	up := c.dirs[r.parent].start
	if r.parent == 0 {
		up = 0
	}
	for i, want := range [2]uint32{r.start, up} {
		raw := d.slot(i)
		e := ondisk.DecodeDirent(raw)
		named := e.Name == dots[i]
		right := named && e.Attr&(ondisk.AttrDir|ondisk.AttrLabel) == ondisk.AttrDir && e.Size == 0 && e.Case == 0
		if right && (c.start(&e) == want || r.lost && i == 1) {
			continue
		}
		f := vfs.Finding{
			Code: codeDirDot, Structure: c.structure(d), Off: c.slotOff(d, i), Path: c.path(d.ref),
			Detail: fmt.Sprintf("%q begins in cluster %d, not %d", shortName(&ondisk.Dirent{Name: dots[i]}), c.start(&e), want),
		}
		switch {
		case named && !right:
			f.Detail = fmt.Sprintf("%q has attributes %#02x, size %d, case %#02x", shortName(&ondisk.Dirent{Name: dots[i]}), e.Attr, e.Size, e.Case)
		case !right:
			f.Detail = fmt.Sprintf("entry %d is not %q", i, shortName(&ondisk.Dirent{Name: dots[i]}))
		}
		if !named && raw[0] != ondisk.MarkEnd && raw[0] != ondisk.MarkDeleted {
			f.Lost = fmt.Sprintf("the name %q that is there instead", shortName(&e))
		}
		if !c.problem(f) {
			continue
		}
		if !named {
			e = ondisk.Dirent{Name: dots[i], WriteDate: epochDate, CreateDate: epochDate, AccessDate: epochDate}
		}
		e.Attr, e.Size, e.Case = ondisk.AttrDir, 0, 0
		c.setStart(&e, want)
		e.Encode(raw)
		if err := c.put(d, i); err != nil {
			return err
		}
	}
	return nil
}

// epochDate is the first of January 1980, of what has no other date.
const epochDate = 1<<5 | 1

// checkEnd looks for entries behind the first that was never used. By the
// specification there are none; Linux sees them nevertheless. If most of them
// make sense, it is the mark that is wrong, and they are shown again.
func (c *checker) checkEnd(d *dir) error {
	end := d.firstSlot()
	for end < d.slots() && d.slot(end)[0] != ondisk.MarkEnd {
		end++
	}
	last, live, sane := 0, 0, 0
	for i := end; i < d.slots(); i++ {
		raw := d.slot(i)
		if raw[0] == ondisk.MarkEnd || raw[0] == ondisk.MarkDeleted {
			continue
		}
		last = i
		live++
		if c.isSane(raw) {
			sane++
		}
	}
	if live == 0 {
		return nil
	}
	show := sane*2 > live
	f := vfs.Finding{
		Code: codeDirEnd, Structure: c.structure(d), Off: c.slotOff(d, end), Path: c.path(d.ref),
		Detail: fmt.Sprintf("%d entries behind the end of the directory, %d of which make sense", live, sane),
	}
	if !show {
		f.Lost = fmt.Sprintf("%d entries that only some systems would show", live)
	}
	if !c.problem(f) {
		return nil
	}
	for i := end; i < d.slots(); i++ {
		raw := d.slot(i)
		switch {
		case !show:
			clear(raw)
		case i < last && raw[0] == ondisk.MarkEnd:
			raw[0] = ondisk.MarkDeleted
		default:
			continue
		}
		if err := c.put(d, i); err != nil {
			return err
		}
	}
	return nil
}

// checkParts looks for clusters of a directory, behind the first, in which most
// entries make no sense, or with which another directory begins: its chain has
// gone astray, and these are the contents of something else.
func (c *checker) checkParts(d *dir) error {
	perCluster := int(c.clusterSize / ondisk.DirentSize)
	for i := 1; i < len(d.clusters); i++ {
		live, sane := 0, 0
		for k := i * perCluster; k < (i+1)*perCluster; k++ {
			raw := d.slot(k)
			if raw[0] == ondisk.MarkEnd || raw[0] == ondisk.MarkDeleted {
				continue
			}
			live++
			if c.isSane(raw) {
				sane++
			}
		}
		first := i * perCluster
		begins := [11]byte(d.slot(first)[:11]) == dots[0] && [11]byte(d.slot(first + 1)[:11]) == dots[1]
		if sane*2 >= live && !begins {
			continue
		}
		mend := c.problem(vfs.Finding{
			Code: codeDirPart, Structure: c.structure(d), Off: c.clusterOff(d.clusters[i]), Path: c.path(d.ref),
			Detail: fmt.Sprintf("cluster %d of its chain, %d, is none of a directory: of %d entries %d make sense", i, d.clusters[i], live, sane),
			Lost:   "the names in it, if there were any",
		})
		if mend {
			for _, lost := range d.clusters[i:] {
				c.owned.unset(lost)
			}
			if err := c.table.set(d.clusters[i-1], c.endMark()); err != nil {
				return err
			}
		}
		d.clusters, d.data = d.clusters[:i], d.data[:int64(i)*c.clusterSize]
		c.dirs[d.ref].clusters = uint32(i)
		break
	}
	return nil
}

// isSane reports whether 32 bytes look like an entry.
func (c *checker) isSane(raw []byte) bool {
	if ondisk.IsLong(raw) {
		n := ondisk.LongOrd(raw) & ondisk.LongOrdMask
		return raw[12] == 0 && raw[26] == 0 && raw[27] == 0 && n >= 1 && n <= ondisk.LongParts
	}
	e := ondisk.DecodeDirent(raw)
	start := c.start(&e)
	return !badShort(e.Name) && e.Attr&^(ondisk.AttrLongMask) == 0 && (c.holds(start) || start == 0 && e.Size == 0)
}
