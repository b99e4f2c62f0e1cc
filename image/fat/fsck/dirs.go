package fsck

import (
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// checkDirs goes through the tree of directories. They come before the files, so
// that what both have belongs to the directory.
func (c *checker) checkDirs() error {
	root := dirRef{start: c.rootCluster()}
	if c.bits == 32 {
		w, err := c.claim(root.start, maxDirBytes/c.clusterSize)
		if err != nil {
			return err
		}
		if w.clusters == 0 {
			if err := c.newRoot(w); err != nil {
				return err
			}
			w = walk{clusters: 1}
		}
		if err := c.endDir(w, vfs.Finding{Structure: "root directory", Off: c.clusterOff(root.start), Path: "/"}); err != nil {
			return err
		}
		root.clusters = uint32(w.clusters)
	}
	c.dirs = append(c.dirs, root)
	return c.checkDirsFrom(0)
}

// newRoot marks the first cluster of the root directory in use. What is in it stays
// as it is.
func (c *checker) newRoot(w walk) error {
	_, detail := c.why(w)
	at := c.rootCluster()
	c.owned.set(at)
	if !c.problem(vfs.Finding{Code: codeRoot, Structure: "root directory", Off: c.entryOff(at), Path: "/", Detail: detail}) {
		return nil
	}
	return c.table.set(at, c.endMark())
}

// checkDirsFrom checks the directories that are known from a number on, and all
// that are found in them.
func (c *checker) checkDirsFrom(ref int) error {
	for ; ref < len(c.dirs); ref++ {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		d, err := c.load(ref)
		if err != nil {
			return err
		}
		if err := c.checkDir(d); err != nil {
			return err
		}
	}
	return nil
}

// checkDir checks what is in a directory, but for the files.
func (c *checker) checkDir(d *dir) error {
	if err := c.checkParts(d); err != nil {
		return err
	}
	if !d.isRoot() {
		if err := c.checkDots(d); err != nil {
			return err
		}
	}
	if err := c.checkEnd(d); err != nil {
		return err
	}
	list, err := c.entries(d, false)
	if err != nil {
		return err
	}
	for _, e := range list {
		d.names[e.dirent.Name] = true
	}
	shorts, shown := map[[11]byte]bool{}, map[string]*entry{}
	for _, e := range list {
		if err := c.checkName(d, e); err != nil {
			return err
		}
		if e.gone || e.isLabel() {
			continue
		}
		if err := c.checkTwice(d, e, shorts, shown); err != nil {
			return err
		}
		if e.isDir() {
			if err := c.checkSubdir(d, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkName checks the kind and the name of an entry.
func (c *checker) checkName(d *dir, e *entry) error {
	if e.isLabel() {
		if err := c.checkLabelEntry(d, e); err != nil || e.gone || e.isLabel() {
			return err
		}
	}
	if isDots(e.dirent.Name) && e.isDir() {
		if c.problem(c.finding(d, e, codeExtraDot, fmt.Sprintf("%q in a place that is not its own", shortName(&e.dirent)))) {
			return c.remove(d, e)
		}
		e.gone = true // it is not to be followed
		return nil
	}
	if badShort(e.dirent.Name) || isDots(e.dirent.Name) {
		f := c.finding(d, e, codeName, fmt.Sprintf("the short name % x is not possible", e.dirent.Name))
		if c.problem(f) {
			if err := c.rename(d, e); err != nil {
				return err
			}
		}
	}
	const known = ondisk.CaseLowerBase | ondisk.CaseLowerExt
	if extra := e.dirent.Case &^ known; extra != 0 && e.long == nil {
		f := c.finding(d, e, codeCase, fmt.Sprintf("unknown bits %#02x beside the case of the name", extra))
		f.Preen = true
		if c.problem(f) {
			e.dirent.Case &= known
			return c.store(d, e)
		}
	}
	return nil
}

// rename gives an entry a short name of our own. Its long name stays.
func (c *checker) rename(d *dir, e *entry) error {
	name, _, ok := d.unusedName("FSCK", "REN", 0)
	if !ok {
		return c.remove(d, e)
	}
	e.dirent.Name = name
	e.dirent.Case &^= ondisk.CaseLowerBase | ondisk.CaseLowerExt
	for i := e.first; i < e.slot; i++ {
		d.slot(i)[13] = e.dirent.Checksum()
		if err := c.put(d, i); err != nil {
			return err
		}
	}
	return c.store(d, e)
}

// checkTwice looks for names that the directory has already.
func (c *checker) checkTwice(d *dir, e *entry, shorts map[[11]byte]bool, shown map[string]*entry) error {
	if shorts[e.dirent.Name] {
		if c.problem(c.finding(d, e, codeTwice, fmt.Sprintf("a second entry with the short name %q", shortName(&e.dirent)))) {
			if err := c.rename(d, e); err != nil || e.gone {
				return err
			}
		}
	}
	shorts[e.dirent.Name] = true
	key := strings.ToUpper(e.name())
	if strings.ContainsRune(key, '\ufffd') {
		return nil // what it is shown as is not all of it
	}
	other := shown[key]
	if other == nil {
		shown[key] = e
		return nil
	}
	loser := e // of its long name; one of them has one, because the short names differ
	if len(e.long) == 0 {
		loser = other
	}
	if len(loser.long) == 0 {
		return nil
	}
	f := c.finding(d, loser, codeTwice, "two entries have this name")
	f.Lost = "the long name of one, which now is " + shortName(&loser.dirent)
	if !c.problem(f) {
		return nil
	}
	if err := c.erase(d, loser.first, loser.slot); err != nil {
		return err
	}
	loser.first, loser.long = loser.slot, nil
	shown[key] = e
	return nil
}

// checkSubdir checks the entry of a directory, and remembers it.
func (c *checker) checkSubdir(d *dir, e *entry) error {
	start := c.start(&e.dirent)
	drop := func(code, detail, lost string) error {
		f := c.finding(d, e, code, detail)
		f.Lost = lost
		e.gone = true
		if c.problem(f) {
			return c.remove(d, e)
		}
		return nil
	}
	if !c.holds(start) {
		return drop(codeEntryStart, fmt.Sprintf("a directory in cluster %d: clusters %d to %d exist", start, ondisk.FirstCluster, c.end-1), "a directory whose place is not known")
	}
	if c.owned.has(start) {
		return drop(codeDirTwice, fmt.Sprintf("a directory in cluster %d, which something else has already", start), "a name that leads to what is found elsewhere")
	}
	w := walk{at: start}
	v, err := c.table.get(start)
	if err != nil {
		return err
	}
	if v == 0 || v == c.bits.Bad() {
		if w.stop = stopFree; v != 0 {
			w.stop = stopBad
		}
		code, detail := c.why(w)
		return drop(code, "the directory "+detail, "a directory whose place is not in use")
	}
	if no, err := c.isFalseDir(e); err != nil || no {
		if err != nil {
			return err
		}
		return c.makeFile(d, e)
	}
	here := c.dirs[d.ref].start
	if d.isRoot() {
		here = 0
	}
	if other, err := c.isElsewhere(start, here); err != nil || other {
		if err != nil {
			return err
		}
		return drop(codeDirTwice, fmt.Sprintf("the directory in cluster %d, which is in the one that its \"..\" leads to", start), "a name that leads to what is found elsewhere")
	}
	if e.dirent.Size != 0 {
		f := c.finding(d, e, codeDirSize, fmt.Sprintf("a directory with the size %d", e.dirent.Size))
		f.Preen = true
		if c.problem(f) {
			e.dirent.Size = 0
			if err := c.store(d, e); err != nil {
				return err
			}
		}
	}
	if w, err = c.claim(start, maxDirBytes/c.clusterSize); err != nil {
		return err
	}
	if err := c.endDir(w, c.finding(d, e, "", "")); err != nil {
		return err
	}
	c.dirs = append(c.dirs, dirRef{start: start, clusters: uint32(w.clusters), parent: int32(d.ref), name: e.name()})
	return nil
}

// endDir ends a directory where its chain cannot be followed any further.
func (c *checker) endDir(w walk, f vfs.Finding) error {
	if w.stop == stopEnd {
		return nil
	}
	f.Code, f.Detail = c.why(w)
	if w.stop == stopLong {
		f.Code, f.Detail = codeDirLarge, fmt.Sprintf("a directory of more than %d entries", maxDirBytes/ondisk.DirentSize)
	}
	if w.stop != stopLoop {
		f.Lost = "what the directory had behind that"
	}
	if !c.problem(f) {
		return nil
	}
	return c.table.set(w.last, c.endMark())
}

// makeFile makes a file of what is no directory.
func (c *checker) makeFile(d *dir, e *entry) error {
	f := c.finding(d, e, codeFalseDir, "not a directory: it has neither \".\" nor \"..\"")
	if !c.problem(f) {
		return nil
	}
	e.dirent.Attr &^= ondisk.AttrDir
	if e.dirent.Size == 0 {
		n, err := c.length(c.start(&e.dirent), maxFileBytes/c.clusterSize)
		if err != nil {
			return err
		}
		e.dirent.Size = uint32(n * c.clusterSize)
	}
	return c.store(d, e)
}
