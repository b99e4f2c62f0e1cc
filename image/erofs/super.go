package erofs

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

var superblock = structure{what: "superblock"}

// The offsets of what checkSuper finds wrong.
const (
	checksumOff  = ondisk.SuperOffset + 4
	blockBitsOff = ondisk.SuperOffset + 12
	rootOff      = ondisk.SuperOffset + 14
	blocksOff    = ondisk.SuperOffset + 36
	metaOff      = ondisk.SuperOffset + 40
	xattrOff     = ondisk.SuperOffset + 44
	incompatOff  = ondisk.SuperOffset + 80
	dirBitsOff   = ondisk.SuperOffset + 90
)

// checkSuper checks what can be checked in the superblock alone.
func (f *FS) checkSuper() error {
	sb := &f.sb
	switch {
	case sb.Magic != ondisk.Magic:
		return superblock.corrupt(ondisk.SuperOffset, "bad magic %#x", sb.Magic)
	case sb.BlockBits < ondisk.MinBlockBits || sb.BlockBits > ondisk.MaxBlockBits:
		return superblock.corrupt(blockBitsOff, "blocks of 2 to the power of %d bytes", sb.BlockBits)
	}
	if err := f.checkFeatures(); err != nil {
		return err
	}
	f.blockSize = 1 << sb.BlockBits
	f.size = int64(sb.Blocks) << sb.BlockBits
	f.meta = int64(sb.MetaBlock) << sb.BlockBits
	switch {
	case f.size > f.dev.Size():
		return superblock.corrupt(blocksOff, "the file system has %d bytes, the device only %d: is the image truncated?", f.size, f.dev.Size())
	case f.size < ondisk.SuperOffset+ondisk.SuperSize:
		return superblock.corrupt(blocksOff, "a size of %d blocks", sb.Blocks)
	case f.meta >= f.size:
		return superblock.corrupt(metaOff, "metadata from block %d of %d", sb.MetaBlock, sb.Blocks)
	case sb.XattrBlock > 0 && sb.XattrBlock >= sb.Blocks:
		return superblock.corrupt(xattrOff, "attributes from block %d of %d", sb.XattrBlock, sb.Blocks)
	}
	return nil
}

// checkFeatures refuses what is not read, and a superblock that is not as it
// was written.
func (f *FS) checkFeatures() error {
	sb := &f.sb
	// The checksum comes first: a feature that is not known may be a flipped bit.
	if sb.Compat&ondisk.SuperChecksummed != 0 {
		b, err := blockio.ReadFull(f.dev, ondisk.SuperOffset, sb.ChecksumSize())
		if err != nil {
			return superblock.corrupt(checksumOff, "the block with it cannot be read to its end: %v", err)
		}
		if sum := ondisk.SuperChecksum(b); sum != sb.Checksum {
			return superblock.corrupt(checksumOff, "a checksum of %#x instead of %#x", sb.Checksum, sum)
		}
	}
	if bad := sb.Incompat & (ondisk.Layout48 | ondisk.Metabox | ^ondisk.KnownIncompat); bad != 0 {
		return &vfs.NotSupportedError{What: "erofs with " + strings.Join(bad.Names(), ", "), Off: incompatOff}
	}
	if sb.DirBlockBits != 0 {
		return &vfs.NotSupportedError{What: fmt.Sprintf("erofs with directory blocks of 2 to the power of %d blocks", sb.DirBlockBits), Off: dirBitsOff}
	}
	return nil
}

// describe fills in what Info tells.
func (f *FS) describe() {
	u := hex.EncodeToString(f.sb.UUID[:])
	f.info = vfs.Info{
		Type:       "erofs",
		Label:      string(bytes.TrimRight(f.sb.Name[:], "\x00")),
		BlockSize:  int(f.blockSize),
		FragSize:   int(f.blockSize),
		Features:   append(f.sb.Compat.Names(), f.incompatNames()...),
		UsedOffset: ondisk.SuperOffset,
	}
	if f.sb.UUID != [16]byte{} {
		f.info.UUID = fmt.Sprintf("%s-%s-%s-%s-%s", u[:8], u[8:12], u[12:16], u[16:20], u[20:])
	}
}

// incompatNames names the features, and of those with two meanings the one that
// the rest of the superblock speaks for.
func (f *FS) incompatNames() []string {
	names := f.sb.Incompat.Names()
	for i, name := range names {
		switch {
		case name == "device_table" && f.sb.ExtraDevices == 0:
			names[i] = "compr_head2"
		case name == "fragments" && f.sb.PackedNid == 0:
			names[i] = "dedupe"
		}
	}
	return names
}
