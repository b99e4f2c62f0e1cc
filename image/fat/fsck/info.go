package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// checkInfo checks FSInfo, and the marks of a volume that was not unmounted.
func (c *checker) checkInfo() error {
	if err := c.checkFSInfo(); err != nil {
		return err
	}
	return c.checkDirty()
}

// checkFSInfo compares the hints with the table.
func (c *checker) checkFSInfo() error {
	at := c.bpb32.FSInfo
	if c.bits != 32 || at == 0 || at >= c.bpb.ReservedSectors {
		return nil
	}
	off := int64(at) * c.sectorSize
	sector := make([]byte, ondisk.FSInfoSize)
	if err := c.read(sector, off); err != nil {
		return err
	}
	free := uint32(0)
	if err := c.table.each(func(_, v uint32) error {
		if v == 0 {
			free++
		}
		return nil
	}); err != nil {
		return err
	}
	i := ondisk.DecodeFSInfo(sector)
	changed := false
	// look reports a field, and says whether it is to be mended.
	look := func(code string, wrong bool, at int64, format string, args ...any) bool {
		mend := wrong && c.problem(vfs.Finding{
			Code: code, Structure: "FSInfo", Off: off + at, Preen: true, Detail: fmt.Sprintf(format, args...),
		})
		changed = changed || mend
		return mend
	}
	signed := i.LeadSignature == ondisk.FSInfoLeadSignature && i.StructSignature == ondisk.FSInfoStructSignature &&
		i.TrailSignature == ondisk.FSInfoTrailSignature
	if look(codeInfoSignature, !signed, 0, "signatures %#x, %#x, %#x, not %#x, %#x, %#x",
		i.LeadSignature, i.StructSignature, i.TrailSignature,
		uint32(ondisk.FSInfoLeadSignature), uint32(ondisk.FSInfoStructSignature), uint32(ondisk.FSInfoTrailSignature)) {
		i.LeadSignature, i.StructSignature, i.TrailSignature = ondisk.FSInfoLeadSignature, ondisk.FSInfoStructSignature, ondisk.FSInfoTrailSignature
	}
	if look(codeInfoFree, i.Free != free && i.Free != ondisk.FSInfoUnknown, 488, "%d free clusters, counted %d", i.Free, free) {
		i.Free = free
	}
	if look(codeInfoNext, !c.holds(i.Next) && i.Next != ondisk.FSInfoUnknown && i.Next != 0, 492,
		"free clusters from %d on: clusters %d to %d exist", i.Next, ondisk.FirstCluster, c.end-1) {
		i.Next = ondisk.FirstCluster
	}
	if !changed {
		return nil
	}
	i.Encode(sector)
	return c.write(sector, off)
}

// checkDirty looks for the marks of a volume that was not unmounted, in the boot
// sector and in the table. They go last: while something is left to mend, they
// are true.
func (c *checker) checkDirty() error {
	if s := c.ext.State & (ondisk.StateDirty | ondisk.StateSurface); s != 0 {
		if c.problem(vfs.Finding{
			Code: codeDirty, Structure: bootName, Off: int64(c.extOff()) + ondisk.StateOffset, Preen: true,
			Detail: fmt.Sprintf("dirty marks %#02x: the volume was not unmounted", s),
		}) {
			c.ext.State &^= s
			c.ext.Encode(c.sector, c.extOff())
			if err := c.writeBoot(); err != nil {
				return err
			}
		}
	}
	v, err := c.table.get(1)
	if err != nil {
		return err
	}
	want := v | c.dirtyMarks()
	if v == want || !c.isFlags(v) {
		return nil
	}
	if !c.problem(vfs.Finding{
		Code: codeDirty, Structure: tableName, Off: c.entryOff(1), Preen: true,
		Detail: fmt.Sprintf("entry 1 is %#x: the volume was not unmounted, or had disk errors", v),
	}) {
		return nil
	}
	return c.table.set(1, want)
}
