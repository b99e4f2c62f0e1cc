package fsck

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// usualBackup is the sector in which FAT32 has the copy of its boot sector, if
// the boot sector cannot be asked.
const usualBackup = 6

// setup reads the boot sector, or its backup.
func (c *checker) setup() error {
	if c.dev.Size() < ondisk.BootSectorSize {
		return vfs.Corruptf(0, bootName, "the device has only %d bytes", c.dev.Size())
	}
	c.sector = make([]byte, ondisk.BootSectorSize)
	if err := c.read(c.sector, 0); err != nil {
		return err
	}
	g, err := parseBoot(c.sector, c.dev.Size())
	if err == nil {
		if err = c.credible(g); err != nil && !errors.As(err, new(*vfs.CorruptError)) {
			return err
		}
	}
	if err != nil {
		if g, err = c.setupFromBackup(err); err != nil {
			return err
		}
	}
	c.geometry = g
	c.owned, c.pointed = makeBitmap(c.owned, int64(c.end)), makeBitmap(c.pointed, int64(c.end))
	c.table = newTable(c)
	return c.checkBoot()
}

// setupFromBackup puts the backup in the place of a boot sector that makes no
// sense for a reason. Without a backup that does, that reason is the error.
func (c *checker) setupFromBackup(reason error) (g geometry, err error) {
	var corrupt *vfs.CorruptError
	if !errors.As(reason, &corrupt) {
		return g, reason
	}
	backup := make([]byte, ondisk.BootSectorSize)
	for _, size := range []int64{512, 1024, 2048, 4096} {
		at := usualBackup * size
		if at+ondisk.BootSectorSize > c.dev.Size() {
			break
		}
		if err := c.read(backup, at); err != nil {
			return g, err
		}
		g, err = parseBoot(backup, c.dev.Size())
		if err != nil || g.bits != 32 || g.sectorSize != size || !isSigned(backup) {
			continue
		}
		if err := c.credible(g); err != nil {
			continue
		}
		if c.problem(vfs.Finding{
			Code: codeBoot, Structure: bootName, Off: corrupt.Off,
			Detail: fmt.Sprintf("%s; its backup at byte %d makes sense", corrupt.Detail, at),
		}) {
			if err := c.write(backup, 0); err != nil {
				return g, err
			}
		}
		c.sector = backup
		return g, nil
	}
	return g, reason
}

func isSigned(sector []byte) bool {
	return sector[ondisk.SignatureOff] == 0x55 && sector[ondisk.SignatureOff+1] == 0xaa
}

// checkBoot checks what of the boot sector can be wrong without harm to the
// rest, and the backup.
func (c *checker) checkBoot() error {
	if !isSigned(c.sector) {
		if c.problem(vfs.Finding{
			Code: codeBootSignature, Structure: bootName, Off: ondisk.SignatureOff, Preen: true,
			Detail: fmt.Sprintf("signature % x, not 55 aa", c.sector[ondisk.SignatureOff:]),
		}) {
			copy(c.sector[ondisk.SignatureOff:], "\x55\xaa")
			if err := c.writeBoot(); err != nil {
				return err
			}
		}
	}
	if c.bits != 32 {
		return nil
	}
	if err := c.checkFSInfoPlace(); err != nil {
		return err
	}
	return c.checkBackup()
}

// checkFSInfoPlace checks that the sector of FSInfo is a reserved one. 0 and
// 0xffff say that there is none.
func (c *checker) checkFSInfoPlace() error {
	at := c.bpb32.FSInfo
	if at == 0 || at == 0xffff || at < c.bpb.ReservedSectors && at != c.bpb32.Backup {
		return nil
	}
	to := uint16(1)
	if c.bpb.ReservedSectors < 2 || c.bpb32.Backup == 1 {
		to = 0
	}
	if !c.problem(vfs.Finding{
		Code: codeInfoPlace, Structure: bootName, Off: 0x30, Preen: true,
		Detail: fmt.Sprintf("FSInfo in sector %d, which is none of the %d reserved ones", at, c.bpb.ReservedSectors),
	}) {
		return nil
	}
	c.bpb32.FSInfo = to
	c.bpb32.Encode(c.sector)
	return c.writeBoot()
}

// backupOff is where the backup of the boot sector lies; 0: there is none.
func (c *checker) backupOff() int64 {
	at := c.bpb32.Backup
	if c.bits != 32 || at == 0 || at == 0xffff || at >= c.bpb.ReservedSectors {
		return 0
	}
	return int64(at) * c.sectorSize
}

// checkBackup compares the boot sector with its backup, but for the dirty marks,
// which are not kept there.
func (c *checker) checkBackup() error {
	at := c.bpb32.Backup
	off := c.backupOff()
	if off == 0 {
		if at == 0 || at == 0xffff {
			return nil
		}
		to := uint16(0)
		if c.bpb.ReservedSectors > usualBackup {
			to = usualBackup
		}
		if !c.problem(vfs.Finding{
			Code: codeBackupPlace, Structure: bootName, Off: 0x32, Preen: true,
			Detail: fmt.Sprintf("backup in sector %d, which is none of the %d reserved ones", at, c.bpb.ReservedSectors),
		}) {
			return nil
		}
		c.bpb32.Backup = to
		c.bpb32.Encode(c.sector)
		return c.writeBoot()
	}
	backup := make([]byte, ondisk.BootSectorSize)
	if err := c.read(backup, off); err != nil {
		return err
	}
	state := ondisk.Ext32Offset + ondisk.StateOffset
	want := bytes.Clone(c.sector)
	want[state] = backup[state]
	if bytes.Equal(want, backup) {
		return nil
	}
	first := 0
	for want[first] == backup[first] {
		first++
	}
	if !c.problem(vfs.Finding{
		Code: codeBackup, Structure: "backup of the boot sector", Off: off, Preen: true,
		Detail: fmt.Sprintf("differs from the boot sector, first in byte %d: %#02x, not %#02x", first, backup[first], want[first]),
	}) {
		return nil
	}
	want[state] = 0
	return c.write(want, off)
}

// writeBoot writes the boot sector and its backup.
func (c *checker) writeBoot() error {
	if err := c.write(c.sector, 0); err != nil {
		return err
	}
	off := c.backupOff()
	if off == 0 {
		return nil
	}
	backup := bytes.Clone(c.sector)
	backup[ondisk.Ext32Offset+ondisk.StateOffset] = 0
	return c.write(backup, off)
}
