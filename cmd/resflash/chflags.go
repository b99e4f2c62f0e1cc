package main

import (
	"context"

	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
)

type chflagsCmd struct {
	Recursive bool     `short:"R" help:"Directories with everything in them."`
	NoDeref   bool     `short:"h" name:"no-dereference" help:"A symbolic link itself, not what it points to."`
	Flags     string   `arg:"" help:"schg, uchg, sappnd, uappnd, arch, nodump, opaque …; with no in front (noschg, dump) to take away; 0 for none at all. Several with commas."`
	Files     []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	editFlags
}

// Help is the long help text.
func (*chflagsCmd) Help() string {
	return addressHelp + editHelp + `

These are the file flags of the BSDs: schg and uchg make a file immutable, sappnd and
uappnd let it only grow, nodump keeps dump(8) from saving it. They bind the system in
the image and this program alike: an immutable file is not changed before its flag is
gone. ext4 has schg (chattr +i), sappnd (+a) and nodump (+d); FAT has its attributes:
uhidden, usystem, uarch and urdonly.

	resflash chflags noschg disk.img:/bsd
	resflash chflags -R uchg,nodump disk.img:/var/db/keep` + exitStatus
}

// Run changes flags.
func (c *chflagsCmd) Run(ctx context.Context, w *world) error {
	apply, err := parseFlags(c.Flags)
	if err != nil {
		return err
	}
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		return e.each(ctx, c.Files, c.Recursive, !c.NoDeref, func(at target) error {
			flags := apply(at.attr.Flags)
			if flags == at.attr.Flags {
				return nil
			}
			if _, err := at.fs.Setattr(ctx, at.attr.Ino, vfs.SetAttr{Flags: &flags}); err != nil {
				return at.error(err)
			}
			e.did(at, "flags", change{From: flagText(at.attr.Flags), To: flagText(flags)})
			return nil
		})
	})
}

func flagText(f vfs.Flags) string {
	if s := export.FlagNames(f); s != "" {
		return s
	}
	return "none"
}

// parseFlags reads what chflags(1) does.
func parseFlags(s string) (func(vfs.Flags) vfs.Flags, error) {
	change, err := export.ParseFlags(s)
	if err != nil {
		return nil, usageError("resflash help chflags", err)
	}
	return change, nil
}
