package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A lostPass is one look at the chains that nothing has. Directories come first,
// because files hang on them: at first those whose parents are not lost as well.
type lostPass int

const (
	lostTops lostPass = iota
	lostDirs
	lostChains
	lostCycles // what is left leads in circles
)

// checkLost looks for chains that no file has, and makes them files of the root
// directory.
func (c *checker) checkLost() error {
	clear(c.pointed)
	any := false
	err := c.table.each(func(cluster, v uint32) error {
		if v == 0 || v == c.bits.Bad() || c.owned.has(cluster) {
			return nil
		}
		any = true
		if c.holds(v) {
			c.pointed.set(v)
		}
		return nil
	})
	if err != nil || !any {
		return err
	}
	root, err := c.load(0)
	if err != nil {
		return err
	}
	list, err := c.entries(root, true)
	if err != nil {
		return err
	}
	for _, e := range list {
		root.names[e.dirent.Name] = true
	}
	for pass := lostTops; pass <= lostCycles; pass++ {
		if err := c.table.each(func(cluster, v uint32) error {
			if v == 0 || v == c.bits.Bad() || c.owned.has(cluster) || c.pointed.has(cluster) && pass != lostCycles {
				return nil
			}
			return c.found(root, cluster, pass)
		}); err != nil {
			return err
		}
	}
	return nil
}

// found handles the lost chain that begins in cluster head.
func (c *checker) found(root *dir, head uint32, pass lostPass) error {
	isDir, up, err := c.isLostDir(head)
	if err != nil {
		return err
	}
	switch pass {
	case lostTops:
		if !isDir || c.holds(up) && !c.owned.has(up) {
			return nil
		}
	case lostDirs:
		if !isDir {
			return nil
		}
	}
	limit := maxFileBytes / c.clusterSize
	if isDir {
		limit = maxDirBytes / c.clusterSize
	}
	w, err := c.claim(head, limit)
	if err != nil {
		return err
	}
	f := vfs.Finding{
		Code: codeLost, Structure: tableName, Off: c.entryOff(head),
		Detail: fmt.Sprintf("%d clusters from %d on belong to no file", w.clusters, head),
	}
	kind := uint8(0)
	if isDir {
		f.Code, kind = codeLostDir, ondisk.AttrDir
		f.Detail = fmt.Sprintf("the directory in cluster %d has no name", head)
	}
	name, at, ok := [11]byte{}, 0, false
	if c.mode == vfs.RepairAll {
		if name, at, ok, err = c.rootSlot(root); err != nil {
			return err
		}
		f.Path = "/" + shortName(&ondisk.Dirent{Name: name})
		if !ok {
			f.Path, f.Lost = "", fmt.Sprintf("%d bytes: there is no room for their name in the root directory", w.clusters*c.clusterSize)
		}
	}
	if !c.problem(f) {
		if isDir {
			c.dirs = append(c.dirs, dirRef{start: head, clusters: uint32(w.clusters), lost: true, name: fmt.Sprintf("(cluster %d)", head)})
			return c.checkLostDir()
		}
		return nil
	}
	if w.stop != stopEnd {
		if err := c.table.set(w.last, c.endMark()); err != nil {
			return err
		}
	}
	if !ok {
		return c.release(head)
	}
	e := ondisk.Dirent{Name: name, Attr: kind, WriteDate: epochDate, CreateDate: epochDate, AccessDate: epochDate}
	c.setStart(&e, head)
	if !isDir {
		e.Size = uint32(w.clusters * c.clusterSize)
	}
	e.Encode(root.slot(at))
	if err := c.put(root, at); err != nil || !isDir {
		return err
	}
	if err := c.hang(head); err != nil {
		return err
	}
	c.dirs = append(c.dirs, dirRef{start: head, clusters: uint32(w.clusters), name: shortName(&e)})
	return c.checkLostDir()
}

// checkLostDir checks the directory that was found last, and all below it.
func (c *checker) checkLostDir() error {
	ref := len(c.dirs) - 1
	if err := c.checkDirsFrom(ref); err != nil {
		return err
	}
	return c.checkFilesFrom(ref)
}

// hang makes the root the parent of a directory.
func (c *checker) hang(start uint32) error {
	p := make([]byte, ondisk.DirentSize)
	off := c.clusterOff(start) + ondisk.DirentSize
	if err := c.read(p, off); err != nil {
		return err
	}
	e := ondisk.DecodeDirent(p)
	c.setStart(&e, 0)
	e.Encode(p)
	return c.write(p, off)
}

// isLostDir reports whether a cluster is the first of a directory, and which is
// that of its parent.
func (c *checker) isLostDir(head uint32) (ok bool, up uint32, err error) {
	var p [2 * ondisk.DirentSize]byte
	if err := c.read(p[:], c.clusterOff(head)); err != nil {
		return false, 0, err
	}
	dot, dotdot := ondisk.DecodeDirent(p[:]), ondisk.DecodeDirent(p[ondisk.DirentSize:])
	ok = dot.Name == dots[0] && dotdot.Name == dots[1] && dot.Attr&dotdot.Attr&ondisk.AttrDir != 0 && c.start(&dot) == head
	return ok, c.start(&dotdot), nil
}

// rootSlot finds a name and a place in the root directory for what was lost. It
// makes the directory longer if it can.
func (c *checker) rootSlot(root *dir) (name [11]byte, at int, ok bool, err error) {
	for at = range root.slots() {
		if raw := root.slot(at); raw[0] == ondisk.MarkEnd || raw[0] == ondisk.MarkDeleted {
			ok = true
			break
		}
	}
	if !ok {
		at = root.slots()
		if ok, err = c.growRoot(root); err != nil || !ok {
			return name, 0, false, err
		}
	}
	name, c.lostNum, ok = root.unusedName("FSCK", "REC", c.lostNum)
	return name, at, ok, nil
}

// growRoot gives the root directory of FAT32 another cluster.
func (c *checker) growRoot(root *dir) (bool, error) {
	if root.clusters == nil || int64(len(root.data))+c.clusterSize > maxDirBytes {
		return false, nil
	}
	to, err := c.allocate()
	if err != nil || to == 0 {
		return false, err
	}
	if err := c.table.set(root.clusters[len(root.clusters)-1], to); err != nil {
		return false, err
	}
	empty := make([]byte, c.clusterSize)
	root.clusters, root.data = append(root.clusters, to), append(root.data, empty...)
	return true, c.write(empty, c.clusterOff(to))
}
