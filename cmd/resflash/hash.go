package main

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/export"
)

type hashCmd struct {
	Algorithm string   `short:"a" enum:"sha256,sha512,sha384,sha1,md5" default:"sha256" help:"sha256, sha384, sha512, sha1 or md5."`
	JSON      bool     `name:"json" help:"Print a JSON document."`
	Files     []string `arg:"" name:"file" help:"IMAGE, IMAGE:VOLUME, IMAGE:/path or IMAGE:VOLUME:/path."`
}

// Help is the long help text.
func (*hashCmd) Help() string {
	return addressHelp + `

IMAGE is the whole image, IMAGE: its root volume, IMAGE:VOLUME a volume: every byte
of it, free space as well. The lines are those of sha256sum.

	resflash hash disk.img disk.img:d disk.img:e
	resflash hash -a sha512 disk.img:/bsd

--json prints an array of {"address", "algorithm", "digest", "size"}.` + exitStatus
}

// hashJSON is an element of what hash --json prints.
type hashJSON struct {
	Address   string `json:"address"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"` // bytes
}

var algorithms = map[string]func() hash.Hash{
	"sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New, "sha1": sha1.New, "md5": md5.New,
}

// Run prints digests.
func (c *hashCmd) Run(ctx context.Context, w *world) error {
	array := &jsonArray{w: w}
	for _, text := range c.Files {
		sum := algorithms[c.Algorithm]()
		n, err := c.one(ctx, w, text, sum)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			w.fail(err)
			continue
		}
		digest := hex.EncodeToString(sum.Sum(nil))
		if !c.JSON {
			w.printf("%s  %s\n", digest, w.name(text))
		} else if err := array.add(hashJSON{text, c.Algorithm, digest, n}); err != nil {
			return err
		}
	}
	if c.JSON {
		array.end()
	}
	return w.done()
}

// one hashes what text names and returns its size.
func (c *hashCmd) one(ctx context.Context, w *world, text string, sum hash.Hash) (int64, error) {
	a := parseAddress(text, isHostFile)
	if a.path != "" {
		f, err := w.file(ctx, text, false)
		if err != nil {
			return 0, err
		}
		if err := w.regular(f); err != nil {
			return 0, err
		}
		bar := w.progress("hashed", f.attr.Size)
		defer bar.end()
		err = export.Contents(ctx, sum, f.vol.FS, f.attr, &export.Options{Progress: bar.add})
		return f.attr.Size, addressError(a, err)
	}
	var dev blockio.Device
	if a.colon {
		p, err := w.partition(ctx, a)
		if err != nil {
			return 0, err
		}
		if dev = p.Device(); p.Truncated() {
			w.note("%s: the image ends %d bytes before this volume does", text, p.Size-dev.Size())
		}
	} else {
		d, err := w.open(ctx, a.image)
		if err != nil {
			return 0, err
		}
		dev = d.Device()
	}
	bar := w.progress("hashed", dev.Size())
	defer bar.end()
	return dev.Size(), addressError(a, hashDevice(ctx, sum, dev, bar))
}

// hashDevice reads a device from end to end; holes of a sparse image are
// hashed as zeros without being read.
func hashDevice(ctx context.Context, sum hash.Hash, dev blockio.Device, bar *progress) error {
	buf := make([]byte, 1<<20)
	zero := make([]byte, 1<<20)
	data := int64(0) // where data is known to begin, at or behind pos
	for pos := int64(0); pos < dev.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if hs, ok := dev.(blockio.HoleSeeker); ok && data <= pos {
			at, err := hs.SeekData(pos)
			switch {
			case err == nil:
				data = at
			case errors.Is(err, io.EOF):
				data = dev.Size()
			default:
				data = pos
			}
		}
		var p []byte
		if data > pos {
			p = zero[:min(int64(len(zero)), data-pos)]
		} else {
			p = buf[:min(int64(len(buf)), dev.Size()-pos)]
			if n, err := dev.ReadAt(p, pos); n < len(p) {
				if err == nil || err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("read at byte %d: %w", pos+int64(n), err)
			}
		}
		sum.Write(p)
		bar.add(int64(len(p)))
		pos += int64(len(p))
	}
	return nil
}
