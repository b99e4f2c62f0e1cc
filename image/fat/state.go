package fat

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// countForInfo is the longest table that Info counts the free clusters of, in
// bytes: enough for 16 million clusters.
const countForInfo = 64 << 20

// Info implements [vfs.FS]. StateNote tells, besides the reasons for State,
// what disagrees on the volume: FSInfo, the backup of the boot sector, the size
// of the device.
func (f *FS) Info() vfs.Info {
	f.infoOnce.Do(func() {
		f.info = vfs.Info{
			Type:      fmt.Sprintf("FAT%d", f.bits),
			Label:     f.label(),
			BlockSize: int(f.clusterSize),
			FragSize:  int(f.clusterSize),
			FoldsCase: true,
			Features:  f.features(),
		}
		if f.boot.hasID() {
			id := f.boot.ext.VolumeID
			f.info.UUID = fmt.Sprintf("%04X-%04X", id>>16, id&0xffff)
		}
		var notes []string
		f.info.State, notes = f.state()
		notes = append(notes, f.fsInfoNotes()...)
		notes = append(notes, f.backupNotes()...)
		if f.volumeBytes > f.deviceBytes {
			notes = append(notes, fmt.Sprintf("the volume has %d bytes, the device only %d", f.volumeBytes, f.deviceBytes))
		}
		f.info.StateNote = strings.Join(notes, "; ")
	})
	info := f.info
	info.Features = append([]string(nil), info.Features...)
	return info
}

// label prefers the entry in the root directory to the boot sector, which few
// programs keep up to date (as blkid does).
func (f *FS) label() string {
	ctx := context.Background()
	found := ""
	if d, err := f.dir(ctx, rootIno); err == nil {
		// A failed read leaves the label of the boot sector.
		_ = f.scanAll(ctx, d, 0, func(e *entry) bool {
			if e.isLabel() && e.dirent.Attr&ondisk.AttrDir == 0 {
				found = labelString(e.dirent.Name)
			}
			return found == ""
		})
	}
	if found == "" && f.boot.ext.Signature == ondisk.SignatureLabel {
		found = labelString(f.boot.ext.Label)
	}
	if found == "NO NAME" {
		return ""
	}
	return found
}

func labelString(name [11]byte) string {
	if name[0] == ondisk.MarkE5 {
		name[0] = 0xe5
	}
	return string(appendOEM(nil, bytes.TrimRight(name[:], " \x00"), false))
}

func (f *FS) features() []string {
	list := []string{fmt.Sprintf("%d FATs", f.fats)}
	if f.fats == 1 {
		list[0] = "1 FAT"
	}
	if f.bits != 32 {
		return list
	}
	if f.boot.fat32.Flags&ondisk.FlagNoMirroring != 0 {
		list = append(list, fmt.Sprintf("only FAT %d active", f.boot.fat32.Flags&ondisk.FlagActiveMask))
	}
	if s := f.boot.fat32.FSInfo; f.hasReserved(s) {
		list = append(list, fmt.Sprintf("FSInfo in sector %d", s))
	}
	if s := f.boot.fat32.Backup; f.hasReserved(s) {
		list = append(list, fmt.Sprintf("backup boot sector in sector %d", s))
	}
	return list
}

// hasReserved reports whether a sector is one of the reserved ones other than
// the boot sector; 0 and 0xffff say that there is no such sector.
func (f *FS) hasReserved(sector uint16) bool {
	return sector > 0 && sector < f.boot.ReservedSectors && int64(sector+1)*f.sectorSize <= f.deviceBytes
}

// state tells whether the volume was unmounted cleanly: by the byte that
// Windows NT and Linux keep in the boot sector, and by the bits that Windows
// 95 and later keep in the entry of cluster 1.
func (f *FS) state() (vfs.State, []string) {
	var notes []string
	state := vfs.StateUnknown
	if f.boot.hasID() {
		state = vfs.Clean
		if f.boot.ext.State&ondisk.StateDirty != 0 {
			notes = append(notes, fmt.Sprintf("dirty bit set in the boot sector (byte %d)",
				f.boot.extOffset()+ondisk.StateOffset))
		}
		if f.boot.ext.State&ondisk.StateSurface != 0 {
			notes = append(notes, "surface scan requested in the boot sector")
		}
	}
	if f.bits != 12 {
		clean, noErrors := uint32(ondisk.Clean16), uint32(ondisk.NoErrors16)
		if f.bits == 32 {
			clean, noErrors = ondisk.Clean32, ondisk.NoErrors32
		}
		t := table{f: f}
		v, err := t.get(1)
		if err != nil {
			return vfs.StateUnknown, append(notes, err.Error())
		}
		state = vfs.Clean
		if v&clean == 0 {
			notes = append(notes, fmt.Sprintf("not marked clean in the file allocation table (byte %d)", f.entryOff(1)))
		}
		if v&noErrors == 0 {
			notes = append(notes, fmt.Sprintf("disk errors recorded in the file allocation table (byte %d)", f.entryOff(1)))
		}
	}
	if len(notes) > 0 {
		state = vfs.Dirty
	}
	return state, notes
}

// fsInfoNotes compares FSInfo, which is only a hint, with the table.
func (f *FS) fsInfoNotes() []string {
	if f.bits != 32 || !f.hasReserved(f.boot.fat32.FSInfo) {
		return nil
	}
	sector, err := blockio.ReadFull(f.dev, int64(f.boot.fat32.FSInfo)*f.sectorSize, ondisk.FSInfoSize)
	if err != nil {
		return []string{err.Error()}
	}
	i := ondisk.DecodeFSInfo(sector)
	if i.LeadSignature != ondisk.FSInfoLeadSignature || i.StructSignature != ondisk.FSInfoStructSignature ||
		i.TrailSignature != ondisk.FSInfoTrailSignature {
		return []string{fmt.Sprintf("FSInfo has bad signatures (sector %d)", f.boot.fat32.FSInfo)}
	}
	if i.Free == ondisk.FSInfoUnknown || f.fatBytes > countForInfo {
		return nil
	}
	free, err := f.countFree(context.Background())
	if err != nil {
		return []string{err.Error()}
	}
	if uint64(i.Free) != free {
		return []string{fmt.Sprintf("FSInfo says %d free clusters, the file allocation table %d", i.Free, free)}
	}
	return nil
}

// backupNotes compares the boot sector with its copy, but for the dirty bit,
// which is not kept there.
func (f *FS) backupNotes() []string {
	if f.bits != 32 || !f.hasReserved(f.boot.fat32.Backup) {
		return nil
	}
	boot, err := blockio.ReadFull(f.dev, 0, ondisk.BootSectorSize)
	if err != nil {
		return []string{err.Error()}
	}
	backup, err := blockio.ReadFull(f.dev, int64(f.boot.fat32.Backup)*f.sectorSize, ondisk.BootSectorSize)
	if err != nil {
		return []string{err.Error()}
	}
	at := f.boot.extOffset() + ondisk.StateOffset
	backup[at] = boot[at]
	if !bytes.Equal(boot, backup) {
		return []string{fmt.Sprintf("the backup in sector %d differs from the boot sector", f.boot.fat32.Backup)}
	}
	return nil
}

// Statfs implements [vfs.FS]. The free clusters are counted in the table, the
// first time that somebody asks.
func (f *FS) Statfs(ctx context.Context) (vfs.Statfs, error) {
	free, err := f.countFree(ctx)
	return vfs.Statfs{
		BlockSize: f.clusterSize,
		Blocks:    uint64(f.clusters),
		Free:      free,
		Avail:     free,
		NameMax:   nameBytes,
	}, err
}

// countChunk is how much of the table is read at a time, in bytes: a whole
// number of entries of any width.
const countChunk = 3 << 16

func (f *FS) countFree(ctx context.Context) (uint64, error) {
	f.freeMu.Lock()
	defer f.freeMu.Unlock()
	if f.counted {
		return f.free, nil
	}
	var (
		free    uint64
		perRead = uint32(f.bits.Entries(countChunk))
		end     = f.clusters + ondisk.FirstCluster
		buf     = make([]byte, min(countChunk, f.fatBytes))
	)
	for first := uint32(0); first < end; first += perRead {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		off := f.bits.Offset(first)
		p := buf[:min(int64(len(buf)), f.fatBytes-off)]
		if _, err := f.dev.ReadAt(p, f.tableOff+off); err != nil {
			return 0, fmt.Errorf("read file allocation table at byte %d: %w", f.tableOff+off, err)
		}
		for c := max(first, ondisk.FirstCluster); c < min(first+perRead, end); c++ {
			if f.bits.Entry(p[f.bits.Offset(c)-off:], c) == 0 {
				free++
			}
		}
	}
	f.free, f.counted = free, true
	return free, nil
}
