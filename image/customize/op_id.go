package customize

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/part/disklabel"
	"github.com/resflash/resflash/image/vfs"
)

// setDUID gives the disk another identifier in its OpenBSD label. An empty one
// is made up.
type setDUID struct{ id string }

var duid = lazyregexp.New(`^[0-9a-f]{16}$`)

func parseSetDUID(arg string) (Operation, error) {
	if arg == "random" {
		return setDUID{}, nil
	}
	id := strings.ToLower(arg)
	if !duid.MatchString(id) || strings.Trim(id, "0") == "" {
		return nil, fmt.Errorf("%q is no DUID: want 16 hexadecimal digits, or random", arg)
	}
	return setDUID{id}, nil
}

func (o setDUID) Apply(ctx context.Context, e *Editor) error {
	if e.disk == nil {
		return errors.New("this is a bare file system, and has no disklabel")
	}
	var label *part.Table
	for _, t := range e.disk.Tables() {
		if t.Scheme == "disklabel" && t.Flavor == string(disklabel.OpenBSD) {
			label = t
			break
		}
	}
	if label == nil {
		return errors.New("the disk has no disklabel of OpenBSD")
	}
	id := o.id
	for strings.Trim(id, "0") == "" {
		var b [8]byte
		if _, err := io.ReadFull(e.Rand(), b[:]); err != nil {
			return err
		}
		id = hex.EncodeToString(b[:])
	}
	old := label.ID
	if err := disklabel.SetID(e.disk.Transaction(), label, id); err != nil {
		return err
	}
	e.Set("", "duid", old, id)
	return e.replaceID(ctx, old, id)
}

func (o setDUID) String() string {
	if o.id == "" {
		return "set-duid random"
	}
	return "set-duid " + o.id
}

// setUUID gives the file system in a volume another identifier. An empty one
// is made up.
type setUUID struct{ volume, id string }

func parseSetUUID(arg string) (Operation, error) {
	volume, id, err := cutArg(arg)
	if err != nil {
		return nil, err
	}
	if id == "random" {
		return setUUID{volume, ""}, nil
	}
	if !uuid.MatchString(id) && !fatID.MatchString(id) {
		return nil, fmt.Errorf("%q is no identifier: want a UUID (ext4), XXXX-XXXX (FAT) or random", id)
	}
	return setUUID{volume, id}, nil
}

var (
	uuid  = lazyregexp.New(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	fatID = lazyregexp.New(`^[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}$`)
)

func (o setUUID) Apply(ctx context.Context, e *Editor) error {
	v := e.root
	if e.disk != nil {
		p, err := e.disk.Find(ctx, o.volume)
		if err != nil {
			return err
		}
		if p.Content.Kind == image.KindSwap {
			return o.applySwap(ctx, e, p)
		}
		if v, err = e.volume(ctx, p); err != nil {
			return err
		}
	}
	if _, err := e.writable(ctx, v); err != nil {
		return err
	}
	fsys, ok := v.w.(vfs.UUIDSetter)
	if !ok {
		return fmt.Errorf("volume %s: %w", v.id, &vfs.NotSupportedError{What: "another identifier for " + v.fs.Info().Type, Off: -1})
	}
	old, id := v.fs.Info().UUID, o.id
	if id == "" {
		var err error
		if id, err = e.newUUID(old); err != nil {
			return err
		}
	}
	if err := fsys.SetUUID(ctx, id); err != nil {
		return fmt.Errorf("volume %s: %w", v.id, err)
	}
	id = v.fs.Info().UUID // as the format writes it
	e.Set(v.id, "uuid", old, id)
	return e.replaceID(ctx, old, id)
}

func (o setUUID) String() string {
	if o.id == "" {
		return "set-uuid " + o.volume + ":random"
	}
	return "set-uuid " + o.volume + ":" + o.id
}

// swapUUIDOff is where the header of Linux's swap space has its UUID, in bytes.
const swapUUIDOff = 1036

// applySwap does it to swap space.
func (o setUUID) applySwap(ctx context.Context, e *Editor, p *image.Partition) error {
	if p.Content.Type != "swap" || p.Content.UUID == "" {
		return fmt.Errorf("volume %s: %w", p.ID, &vfs.NotSupportedError{What: "an identifier for swap space that has none, or holds a hibernated system", Off: -1})
	}
	id := strings.ToLower(o.id)
	if id == "" {
		var err error
		if id, err = e.newUUID(p.Content.UUID); err != nil {
			return err
		}
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || len(raw) != 16 {
		return fmt.Errorf("volume %s: %q is no UUID: want 8-4-4-4-12 hexadecimal digits", p.ID, id)
	}
	if _, err := p.Transaction().WriteAt(raw, swapUUIDOff); err != nil {
		return fmt.Errorf("volume %s: %w", p.ID, err)
	}
	old := p.Content.UUID
	p.Content.UUID = id
	e.Set(p.ID, "uuid", old, id)
	return e.replaceID(ctx, old, id)
}

// newUUID makes an identifier of the same form up.
func (e *Editor) newUUID(old string) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(e.Rand(), b[:]); err != nil {
		return "", err
	}
	if !uuid.MatchString(old) {
		return fmt.Sprintf("%02X%02X-%02X%02X", b[0], b[1], b[2], b[3]), nil
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4: random
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// namesIDs are the files in which an identifier of a disk or volume is to be
// expected, in any volume: what mounts file systems, and what boots.
var namesIDs = []string{
	"/etc/fstab", "/etc/crypttab", "/etc/default/grub", "/etc/kernel/cmdline", "/etc/boot.conf", "/boot.conf",
	"/etc/initramfs-tools/conf.d/resume", "/upgrade_overlay/etc/fstab", "/boot/loader.conf",
	"/boot/grub*/grub.cfg", "/grub*/grub.cfg", "/EFI/*/grub.cfg", "/efi/*/grub.cfg",
	"/boot/loader/entries/*.conf", "/loader/entries/*.conf",
	"/boot/extlinux/extlinux.conf", "/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg", "/syslinux/syslinux.cfg",
	"/boot/cmdline.txt", "/cmdline.txt", "/boot/firmware/cmdline.txt",
}

// replaceID writes a new identifier wherever the old one is named, in all
// volumes: the other slot mounts the disk by the same one.
func (e *Editor) replaceID(ctx context.Context, old, id string) error {
	if old == "" || strings.EqualFold(old, id) {
		return nil
	}
	prefixes := []string{""}
	if e.disk != nil {
		prefixes = nil
		for _, p := range e.disk.Partitions() {
			if p.Content.Kind != image.KindFilesystem {
				continue
			}
			if _, err := e.volume(ctx, p); err != nil {
				e.note("volume %s is left out: whether it names %s is not known: %v", p.ID, old, err)
				continue
			}
			prefixes = append(prefixes, p.ID+":")
		}
	}
	// A word of its own: not a part of a longer number.
	re := regexp.MustCompile(`(?i)(^|[^0-9a-z-])` + regexp.QuoteMeta(old) + `($|[^0-9a-z-])`)
	for _, prefix := range prefixes {
		kernels, err := e.Glob(ctx, prefix+"/EFI/Linux/*.efi")
		if err != nil {
			return err
		}
		for _, path := range kernels {
			if named, err := e.contains(ctx, path, old); err != nil || named {
				if err == nil {
					err = fmt.Errorf("not supported: %s, a kernel with its command line inside, names %s, and may be signed", path, old)
				}
				return err
			}
		}
		for _, pattern := range namesIDs {
			found, err := e.Glob(ctx, prefix+pattern)
			if err != nil {
				return err
			}
			for _, path := range found {
				if err := e.replaceIn(ctx, path, re, old, id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// contains reports whether a file has a text in it, in lower or upper case.
func (e *Editor) contains(ctx context.Context, path, text string) (bool, error) {
	r, _, err := e.Open(ctx, path)
	if err != nil {
		return false, err
	}
	lower, upper := []byte(strings.ToLower(text)), []byte(strings.ToUpper(text))
	buf := make([]byte, 1<<20+len(text))
	for off := int64(0); ctx.Err() == nil; off += 1 << 20 {
		n, err := r.ReadAt(buf, off) // pieces overlap by the length of the text
		if bytes.Contains(buf[:n], lower) || bytes.Contains(buf[:n], upper) {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, pathError("read", path, err)
		}
	}
	return false, ctx.Err()
}

// replaceIn replaces an identifier in a file, in the case that it has there.
func (e *Editor) replaceIn(ctx context.Context, path string, re *regexp.Regexp, old, id string) error {
	attr, err := e.Lstat(ctx, path)
	if err != nil || !attr.Mode.IsRegular() {
		return err // a link leads to a file that has a name of its own
	}
	text, err := e.ReadFile(ctx, path, MaxText)
	if err != nil {
		return err
	}
	changed := replaceWord(text, re, old, id)
	if string(changed) == string(text) {
		return nil
	}
	return e.WriteFile(ctx, path, changed, newText)
}

// replaceWord replaces every match of re, whose groups are what stands around
// the word.
func replaceWord(text []byte, re *regexp.Regexp, old, id string) []byte {
	var out []byte
	for {
		m := re.FindSubmatchIndex(text)
		if m == nil {
			return append(out, text...)
		}
		from, to := m[3], m[4]
		word := id
		if strings.ToLower(old) != strings.ToUpper(old) {
			switch string(text[from:to]) {
			case strings.ToLower(old):
				word = strings.ToLower(id)
			case strings.ToUpper(old):
				word = strings.ToUpper(id)
			}
		}
		out = append(append(out, text[:from]...), word...)
		// What is behind a word may be in front of the next one.
		text = text[to:]
		if to == from {
			return append(out, text...)
		}
	}
}
