package ext4

import (
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// descPerBlock is how many group descriptors fit a block.
func (g *geometry) descPerBlock() uint64 { return uint64(g.blockSize) / uint64(g.descSize) }

// descBlocks is how many blocks the group descriptors take (s_gdb_count).
func (g *geometry) descBlocks() uint64 { return (g.groups + g.descPerBlock() - 1) / g.descPerBlock() }

// descBlock is where the block nr of the group descriptors lies
// (descriptor_loc). With meta_bg, each lies in the first group that it
// describes, behind a copy of the superblock if there is one.
func (g *geometry) descBlock(nr uint64) uint64 {
	if g.sb.FeatureIncompat&ondisk.IncompatMetaBg == 0 || nr < uint64(g.sb.FirstMetaBg) {
		if g.blockSize == 1024 {
			return nr + 2 // block 1 is the superblock, also where groups begin at block 0
		}
		return nr + 1
	}
	group := nr * g.descPerBlock()
	at := g.groupStart(group)
	if g.sb.HasSuper(group) {
		at++
	}
	if g.blockSize == 1024 && nr == 0 && g.firstBlock == 0 {
		at++
	}
	return at
}

// groupStart is the first block of group (ext4_group_first_block_no).
func (g *geometry) groupStart(group uint64) uint64 { return g.firstBlock + group*g.blocksPerGroup }

// group reads the descriptor of a group, verifies its checksum and makes sure
// that what it points to is there.
//
// Requires n < fs.groups.
func (fs *FS) group(n uint64) (d ondisk.GroupDesc, err error) {
	if fs.live != nil {
		return fs.live[n], nil
	}
	if d, ok := fs.descs.load(n); ok {
		return d, nil
	}
	num := fs.descBlock(n / fs.descPerBlock())
	in := int64(n%fs.descPerBlock()) * int64(fs.descSize)
	b, err := fs.block(num, "group descriptors")
	if err != nil {
		return d, err
	}
	b = b[in : in+int64(fs.descSize)]
	corrupt := func(format string, args ...any) error {
		return vfs.Corruptf(fs.offset(num)+in, fmt.Sprintf("group %d descriptor", n), format, args...)
	}
	ondisk.DecodeGroupDesc(b, &d)
	switch {
	case fs.metadataCsum:
		if want := ondisk.GroupChecksum(fs.seed, uint32(n), b); d.Checksum != want {
			return d, corrupt("checksum %#04x, want %#04x", d.Checksum, want)
		}
	case fs.groupCsum:
		if want := ondisk.GroupChecksum16(fs.sb.UUID, uint32(n), b); d.Checksum != want {
			return d, corrupt("checksum %#04x, want %#04x", d.Checksum, want)
		}
	}
	if !fs.validBlocks(d.InodeTable, fs.tableBlocks) {
		return d, corrupt("inode table of %d blocks at block %d lies outside the file system", fs.tableBlocks, d.InodeTable)
	}
	fs.descs.store(n, d)
	return d, nil
}
