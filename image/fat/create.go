package fat

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Create implements [vfs.WritableFS]. There are regular files and directories;
// anything else is EPERM. Of the mode, only whether the owner may write is kept,
// of a regular file; of flags, those that FAT has. The owner is not, which is no
// error, as on Linux.
func (w *Writer) Create(ctx context.Context, dir vfs.Ino, name string, node vfs.NewNode) (vfs.Attr, error) {
	var attr vfs.Attr
	err := w.do(ctx, func(o *op) error {
		in, err := o.create(dir, name, &node)
		if err != nil {
			return err
		}
		attr, err = w.attr(ctx, &entry{off: in.off, dirent: in.dirent})
		return err
	})
	return attr, err
}

// newName opens a directory for a file to be made in it, and makes sure that it
// can have that name.
func (o *op) newName(ino vfs.Ino, name string) (*dir, error) {
	if name == "." || name == ".." {
		if _, err := o.openDir(ino); err == syscall.ENOTDIR || err != nil && o.w.orphans[ino] == nil {
			return nil, err
		}
		return nil, syscall.EEXIST
	}
	d, err := o.openForName(ino, name)
	if err != nil {
		return nil, err
	}
	_, taken, err := o.lookup(d, name)
	if taken {
		err = syscall.EEXIST
	}
	return d, err
}

func (o *op) create(dirIno vfs.Ino, name string, node *vfs.NewNode) (file, error) {
	d, err := o.newName(dirIno, name)
	if err != nil {
		return file{}, err
	}
	if node.Mode&^(vfs.TypeMask|0o7777) != 0 {
		return file{}, syscall.EINVAL
	}
	switch node.Mode.Type() {
	case vfs.Regular, vfs.Dir:
	case vfs.Symlink, vfs.FIFO, vfs.Socket, vfs.Char, vfs.Block:
		return file{}, errNoType(node.Mode)
	default:
		return file{}, syscall.EINVAL
	}
	if node.Flags&^heldFlags != 0 {
		return file{}, errNoFlag
	}
	in := file{dirent: o.newDirent(node)}
	var r clusterRun
	if in.isDir() {
		if r, err = o.newDirClusters(0, 1); err != nil {
			return in, err
		}
		if err := o.join(0, tail{}, r); err != nil {
			return in, err
		}
		o.f.setStart(&in.dirent, r.first)
		if err := o.putDots(in.dirent, d); err != nil {
			return in, err
		}
	}
	if in.off, err = o.addName(d, name, &in.dirent); err != nil {
		return in, err
	}
	at := positionOf(in.off)
	in.ino = o.f.inos.fresh(at, func(ino vfs.Ino) bool { return o.w.orphans[ino] != nil })
	o.place(in.ino, 0, at)
	if in.isDir() {
		o.count(d, +1)
		if err := o.addDir(&in, r); err != nil {
			return in, err
		}
	} else if err := o.putContents(&in, node.Contents); err != nil {
		return in, err
	}
	return in, o.touchDir(d)
}

// putContents gives a new file its contents.
func (o *op) putContents(in *file, p []byte) error {
	switch {
	case len(p) == 0:
		return nil
	case int64(len(p)) > maxFile:
		return syscall.EFBIG
	}
	if _, err := o.write(in, p, 0); err != nil {
		return err
	}
	return o.store(in)
}

// newDirent is the entry of a file as node says.
func (o *op) newDirent(node *vfs.NewNode) ondisk.Dirent {
	var d ondisk.Dirent
	d.CreateDate, d.CreateTime, d.CreateTen = fatStamp(o.now)
	mtime := o.now
	if !node.Mtime.IsZero() {
		mtime = node.Mtime
	}
	d.WriteDate, d.WriteTime, _ = fatStamp(mtime)
	d.AccessDate = d.WriteDate
	if node.Mode.IsDir() {
		d.Attr = attrOf(node.Flags, ondisk.AttrDir)
		return d
	}
	d.Attr = attrOf(node.Flags|vfs.UserArchive, 0)
	if node.Mode&0o200 == 0 {
		d.Attr |= ondisk.AttrReadOnly
	}
	return d
}

// putDots makes the first two entries of a new directory.
func (o *op) putDots(self ondisk.Dirent, parent *dir) error {
	off := o.f.clusterOff(o.f.firstCluster(&self))
	self.Attr, self.Case = ondisk.AttrDir, 0
	b, err := o.f.cache.Modify(off, 2*ondisk.DirentSize)
	if err != nil {
		return err
	}
	self.Name = pad(".", "")
	self.Encode(b)
	self.Name = pad("..", "")
	o.f.setStart(&self, parent.link())
	self.Encode(b[ondisk.DirentSize:])
	return nil
}

// link is what ".." says in the directories in d: that of the root is 0,
// whatever cluster it has.
func (d *dir) link() uint32 {
	if d.ino == rootIno {
		return 0
	}
	return d.start
}

// addDir makes a new directory known.
func (o *op) addDir(in *file, r clusterRun) error {
	d := &dir{ino: in.ino, start: r.first}
	d.add(extent{o.f.clusterOff(r.first), int64(r.n) * o.f.clusterSize})
	o.touched(d.ino)
	o.undos = append(o.undos, func() { o.f.claims.release(r.first, []clusterRun{r}) })
	if err := o.f.claims.claim(o.f, d); err != nil {
		return err
	}
	o.f.dirs.put(d.ino, d, 8+len(d.extents))
	return nil
}
