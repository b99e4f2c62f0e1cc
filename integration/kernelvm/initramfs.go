package kernelvm

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/resflash/resflash/integration/kernelvm/plan"
)

// writeInitramfs writes the root file system that the kernel starts from: the
// program init, its modules and its plan.
func (k *Kernel) writeInitramfs(name string, p plan.Plan) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	c := cpio{w: w}
	for _, dir := range []string{"dev", "proc", "sys", "mnt", "modules"} {
		c.add(dir, 0o40755, nil)
	}
	files := []struct{ from, to string }{{k.init, "init"}}
	for i, m := range k.modules {
		files = append(files, struct{ from, to string }{m, fmt.Sprintf("modules/%03d-%s", i, filepath.Base(m))})
	}
	for _, file := range files {
		data, err := os.ReadFile(file.from)
		if err != nil {
			return err
		}
		c.add(file.to, 0o100755, data)
	}
	var text bytes.Buffer
	if err := gob.NewEncoder(&text).Encode(p); err != nil {
		return err
	}
	c.add(plan.Name, 0o100644, text.Bytes())
	c.add("TRAILER!!!", 0, nil)
	return errors.Join(c.err, w.Flush())
}

// cpio writes an archive of the format "newc" (cpio(5)). The first error sticks.
type cpio struct {
	w   io.Writer
	ino int
	err error
}

func (c *cpio) add(name string, mode int, data []byte) {
	c.ino++
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	c.write([]byte(head))
	c.write(make([]byte, -len(head)&3))
	c.write(data)
	c.write(make([]byte, -len(data)&3))
}

func (c *cpio) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}
