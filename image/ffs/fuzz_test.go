package ffs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// FuzzOpen changes bytes anywhere in a small image and then opens it, walks,
// looks up, reads, seeks and maps. The input is a list of changes, 3 bytes
// each (offset and value), rather than the image: the fuzzer is lost in 64K.
func FuzzOpen(f *testing.F) {
	bases := fuzzBases(f)
	for i := range bases {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0x30, 0x20, 0x40, 0x34, 0x20, 0x02}) // fs_bsize, fs_fsize
		f.Add(uint8(i), []byte{0xb8, 0x20, 0xff, 0x2c, 0x20, 0x02}) // fs_ipg, fs_ncg
		f.Add(uint8(i), []byte{0x28, 0x25, 0x00, 0x2c, 0x25, 0xff}) // fs_maxsymlinklen, fs_inodefmt
	}
	f.Fuzz(func(_ *testing.T, which uint8, changes []byte) {
		data := bytes.Clone(bases[int(which)%len(bases)].data)
		for ; len(changes) >= 3; changes = changes[3:] {
			data[(int(changes[0])|int(changes[1])<<8)%len(data)] = changes[2]
		}
		walkAll(blockio.NewMemory(data), 200, 1<<20)
	})
}

// FuzzStructures puts the bytes of a superblock, an inode and a directory chunk
// into a sound image.
func FuzzStructures(f *testing.F) {
	bases := fuzzBases(f)
	for i, b := range bases {
		f.Add(uint8(i), b.data[8192:][:ondisk.SuperSize], b.data[b.inode:][:b.size], b.data[b.dir:][:ondisk.DirChunk])
	}
	f.Fuzz(func(_ *testing.T, which uint8, super, inode, dir []byte) {
		b := bases[int(which)%len(bases)]
		data := bytes.Clone(b.data)
		copy(data[8192:][:ondisk.SuperSize], super)
		copy(data[b.inode:][:b.size], inode)
		copy(data[b.dir:][:ondisk.DirChunk], dir)
		walkAll(blockio.NewMemory(data), 200, 1<<20)
	})
}

// A fuzzBase is a sound image, and where in it the inode of a file lies and the
// first chunk of the root directory.
type fuzzBase struct {
	data       []byte
	inode, dir int64
	size       int
}

func fuzzBases(f *testing.F) []fuzzBase {
	f.Helper()
	var bases []fuzzBase
	for _, data := range fuzzSeeds(f) {
		fsys, err := Open(ctx, blockio.NewMemory(data))
		if err != nil {
			f.Fatal(err)
		}
		fs := fsys.(*FS)
		a, err := vfs.NewTree(fs).Resolve(ctx, "/d/file")
		if err != nil {
			f.Fatal(err)
		}
		var root inode
		if err := fs.read(2, &root); err != nil {
			f.Fatal(err)
		}
		bases = append(bases, fuzzBase{
			data:  data,
			inode: fs.geo.inodeOffset(uint64(a.Ino)),
			dir:   root.Direct[0] << fs.geo.fragShift,
			size:  fs.geo.version.InodeSize(),
		})
	}
	return bases
}

// fuzzSeeds are images as small as makefs makes them.
func fuzzSeeds(f *testing.F) [][]byte {
	f.Helper()
	testtool.Need(f, "makefs")
	dir := f.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "d"), 0o755),
		os.WriteFile(filepath.Join(dir, "d", "file"), contents(1, 9000), 0o644),
		os.Symlink("d/file", filepath.Join(dir, "link")),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	var seeds [][]byte
	for _, l := range layouts(4096, 512) {
		out := filepath.Join(dir, l.String())
		order := "le"
		if l.big {
			order = "be"
		}
		cmd := exec.Command("makefs", "-t", "ffs", "-B", order, "-s", "64k", "-o",
			"bsize=4096,fsize=512,density=4096,version="+string(rune('0'+l.version)), out, dir)
		if msg, err := cmd.CombinedOutput(); err != nil {
			f.Fatalf("%v\n%s", err, msg)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			f.Fatal(err)
		}
		if err := os.Remove(out); err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, data)
	}
	return seeds
}

// FuzzOpenWritable changes bytes of a small image as FuzzOpen does, opens it
// for writing and does a bit of everything: whatever the damage, no panic and
// no endless loop.
func FuzzOpenWritable(f *testing.F) {
	bases := fuzzBases(f)
	for i := range bases {
		f.Add(uint8(i), []byte{}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
		f.Add(uint8(i), []byte{0x1c, 0x40, 0xff}, []byte{1, 1, 2, 6, 1, 7}) // a group's counts
	}
	f.Fuzz(func(t *testing.T, which uint8, changes, ops []byte) {
		data := bytes.Clone(bases[int(which)%len(bases)].data)
		for ; len(changes) >= 3; changes = changes[3:] {
			data[(int(changes[0])|int(changes[1])<<8)%len(data)] = changes[2]
		}
		mem := blockio.NewMemory(data)
		fsys, err := OpenWritable(ctx, blockio.NewSession(mem, blockio.SessionOptions{}))
		if err != nil {
			return
		}
		fuzzWrite(fsys.(*Writer), ops[:min(len(ops), 40)])
	})
}

// fuzzWrite does operations, whatever comes of them.
func fuzzWrite(w *Writer, ops []byte) {
	dirs := []vfs.Ino{w.Root()}
	files := []vfs.Ino{3, 4, 5}
	for e, err := range w.ReadDir(ctx, w.Root(), 0) {
		if err != nil || len(files) > 50 {
			break
		}
		files = append(files, e.Ino)
		if e.Type == vfs.Dir {
			dirs = append(dirs, e.Ino)
		}
	}
	for i, op := range ops {
		dir, file, name := dirs[i%len(dirs)], files[i*7%len(files)], string(rune('a'+i%5))
		size := int64(i) * 2500
		switch op % 14 {
		case 0:
			if a, err := w.Create(ctx, dir, name, vfs.NewNode{Mode: vfs.Regular}); err == nil {
				files = append(files, a.Ino)
			}
		case 1:
			_, _ = w.WriteAt(ctx, file, make([]byte, 9000), size)
		case 2:
			_, _ = w.Setattr(ctx, file, vfs.SetAttr{Size: &size})
		case 3:
			if a, err := w.Create(ctx, dir, name+"d", vfs.NewNode{Mode: vfs.Dir}); err == nil {
				dirs = append(dirs, a.Ino)
			}
		case 4:
			_ = w.Unlink(ctx, dir, name)
		case 5:
			_ = w.Unlink(ctx, w.Root(), "link")
		case 6:
			_ = w.Rename(ctx, w.Root(), "d", dir, name, vfs.RenameFlags(i%3))
		case 7:
			for _, d := range dirs {
				_ = w.Unlink(ctx, d, "file")
			}
		case 8:
			_ = w.Rmdir(ctx, dir, name+"d")
		case 9:
			_, _ = w.Link(ctx, file, dir, name+"l")
		case 10:
			_ = w.Fallocate(ctx, file, vfs.AllocPunchHole|vfs.AllocKeepSize, size, 9000)
		case 11:
			_ = w.Fallocate(ctx, file, 0, 0, size+1)
		case 12:
			w.Pin(file)
			defer func() { _ = w.Unpin(ctx, file) }()
		case 13:
			_ = w.Sync(ctx)
		}
	}
	_ = w.Sync(ctx)
}
