package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/vfs"
)

// serveVerb makes the program a file server: bench serves what it measures
// against from processes of their own.
const serveVerb = "serve"

func serve(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: bench serve KIND PATH MOUNTPOINT")
	}
	kind, path, mnt := args[0], args[1], args[2]
	switch kind {
	case "image":
		return serveImage(path, mnt)
	case "loopback":
		return serveLoopback(path, mnt)
	case "memory":
		return serveMemory(path, mnt)
	case "rawmem":
		return serveRaw(path, mnt)
	case "rwloopback":
		return serveWritableLoopback(path, mnt)
	case "rwmemory":
		return serveWritableMemory(mnt)
	}
	return fmt.Errorf("unknown kind %q", kind)
}

// serveImage mounts a bare file system as the program would.
func serveImage(path, mnt string) error {
	dev, err := blockio.OpenFile(path)
	if err != nil {
		return err
	}
	defer dev.Close()
	for _, driver := range []*vfs.Driver{&ffs.Driver, &ext4.Driver} {
		if ok, err := driver.Probe(dev); err != nil || !ok {
			continue
		}
		fsys, err := driver.Open(context.Background(), dev)
		if err != nil {
			return err
		}
		defer fsys.Close()
		srv, err := fusefs.MountOne(mnt, fusefs.Volume{FS: fsys, Device: dev}, fusefs.Options{FSName: path})
		if err != nil {
			return err
		}
		profile(func() { err = srv.Wait() })
		return err
	}
	return fmt.Errorf("%s: no known file system", path)
}
