package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// cli is the grammar of the command line: the flags of all verbs, and the verbs.
type cli struct {
	Help       helpFlag `help:"Show help."`
	Quiet      bool     `short:"q" help:"Print no notes and no progress, only errors."`
	SectorSize int      `placeholder:"BYTES" enum:"0,512,4096" default:"0" help:"Size of a logical sector, 512 or 4096, for images that do not say so."`
	kong.Plugins
}

// commands are the verbs, in the order of the help.
type commands struct {
	Inspect     inspectCmd     `cmd:"" help:"Show tables, volumes, slots and the operating system of an image."`
	Ls          lsCmd          `cmd:"" help:"List files."`
	Tree        treeCmd        `cmd:"" help:"List files as a tree."`
	Stat        statCmd        `cmd:"" help:"Show everything that is known of a file."`
	Cat         catCmd         `cmd:"" help:"Print the contents of files."`
	Find        findCmd        `cmd:"" help:"Find files by name, type, size, owner, permissions or age."`
	Du          duCmd          `cmd:"" help:"Sum up the space that directories take."`
	Export      exportCmd      `cmd:"" help:"Write a volume or directory as a tar archive or an mtree manifest."`
	Diff        diffCmd        `cmd:"" help:"Show in what two images differ: files, packages, blocks."`
	Hash        hashCmd        `cmd:"" help:"Print digests of images, volumes or files."`
	Cp          cpCmd          `cmd:"" help:"Copy files out of an image, into it, or between images."`
	Mv          mvCmd          `cmd:"" help:"Rename files, or move them between volumes, images and the host."`
	Rm          rmCmd          `cmd:"" help:"Remove files."`
	Mkdir       mkdirCmd       `cmd:"" help:"Make directories."`
	Ln          lnCmd          `cmd:"" help:"Make hard and symbolic links."`
	Write       writeCmd       `cmd:"" help:"Write standard input to a file."`
	Chmod       chmodCmd       `cmd:"" help:"Change permissions."`
	Chown       chownCmd       `cmd:"" help:"Change owners and groups."`
	Chflags     chflagsCmd     `cmd:"" help:"Change file flags."`
	Touch       touchCmd       `cmd:"" help:"Set times, or make empty files."`
	Truncate    truncateCmd    `cmd:"" help:"Set the size of files."`
	Mknod       mknodCmd       `cmd:"" help:"Make a device node or FIFO."`
	Edit        editCmd        `cmd:"" help:"Change a system by a list of operations: upload, edit, chmod, passwords …"`
	With        withCmd        `cmd:"" help:"Run a command in a mounted image, and save what it does if it succeeds."`
	Shell       shellCmd       `cmd:"" help:"Run a shell in a mounted image, likewise."`
	Mkfs        mkfsCmd        `cmd:"" help:"Make a file system in a new image or in a volume."`
	Check       checkCmd       `cmd:"" help:"Check file systems, and repair them."`
	Audit       auditCmd       `cmd:"" help:"Look for secrets, identities and leftovers that must not be shipped."`
	Seal        sealCmd        `cmd:"" help:"Take out what must not be shipped, and audit the result."`
	Personalise personaliseCmd `cmd:"" help:"Give one copy of an image an identity of its own."`
	Compare     compareCmd     `cmd:"" help:"Explain by rule in what two images of one product differ, and find secrets they share."`
	Rules       rulesCmd       `cmd:"" help:"List what audit looks for."`
	Mount       mountCmd       `cmd:"" help:"Mount an image for reading and writing."`
	Umount      umountCmd      `cmd:"" help:"End a mount, when everything is written."`
	Completion  completionCmd  `cmd:"" help:"Print a completion script for a shell."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
	HelpOn      helpCmd        `cmd:"" name:"help" help:"Show help on a command."`
}

// commandsFor returns commands, or a struct of that one alone which args begin
// with. Kong looks at all flags of every verb that it gets, which for all of them
// takes longer than many a verb runs.
func commandsFor(args []string) any {
	all := reflect.TypeFor[commands]()
	for i := range all.NumField() {
		f := all.Field(i)
		name := cmp.Or(f.Tag.Get("name"), strings.ToLower(f.Name))
		if name != args[0] || name == "completion" { // which tells of all others
			continue
		}
		one := reflect.New(reflect.StructOf([]reflect.StructField{f}))
		if edit, ok := one.Elem().Field(0).Addr().Interface().(*editCmd); ok {
			edit.Plugins = kong.Plugins{operationFlags()}
		}
		return one.Interface()
	}
	return &commands{Edit: editCmd{Plugins: kong.Plugins{operationFlags()}}}
}

// helpFlag is --help. It is not Kong's own because that one takes -h, which
// ls and du need.
type helpFlag bool

// BeforeReset prints help before anything is complained about.
func (helpFlag) BeforeReset(k *kong.Context) error {
	if err := k.PrintUsage(false); err != nil {
		return err
	}
	k.Exit(exitOK)
	return nil
}

// helpCmd is there to be listed: run turns "help VERB" into "VERB --help".
type helpCmd struct {
	Command string `arg:"" optional:"" help:"The command."`
}

const description = `Look into disk images, change them, check them and mount them, as an ordinary user.`

// run is the whole program. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	w := newWorld(stdin, stdout, stderr)
	defer w.close()
	switch {
	case len(args) == 0, len(args) == 1 && args[0] == "-h":
		args = []string{"--help"}
	case args[0] == "help":
		args = append(args[1:len(args):len(args)], "--help")
	}
	end := len(args)
	if i := slices.Index(args, "--"); i >= 0 {
		end = i
	}
	w.json = slices.Contains(args[:end], "--json")

	grammar := cli{Plugins: kong.Plugins{commandsFor(args)}}
	exited := false
	parser, err := newParser(&grammar, w, func(int) { exited = true })
	if err != nil {
		panic("bug: grammar: " + err.Error())
	}
	verb, err := parser.Parse(args)
	if exited {
		// Help was printed; that something is missing then does not matter.
		w.out.Flush()
		return exitOK
	}
	if word, ok := strings.CutPrefix(fmt.Sprint(err), "unexpected argument "); ok && verb == nil {
		err = usageError("resflash --help", fmt.Errorf("unknown command %s", word))
	}
	if err == nil {
		w.quiet, w.sectorSize = grammar.Quiet, grammar.SectorSize
		verb.BindTo(ctx, (*context.Context)(nil))
		err = verb.Run(w)
	}
	if ctx.Err() != nil && !w.signalIsEnd {
		w.out.Flush()
		w.note("interrupted")
		return exitInterrupted
	}
	if flushed := w.out.Flush(); err == nil {
		err = flushed
	}
	if err == nil {
		err = w.done()
	}
	if silent := (reported{}); err != nil && !errors.As(err, &silent) {
		w.report(err)
	}
	return exitCode(err)
}

// printHelp prints arguments and flags first, and then the long text of a verb
// as it was written: examples must not be wrapped.
func printHelp(options kong.HelpOptions, k *kong.Context) error {
	node := k.Selected()
	if node == nil {
		return kong.DefaultHelpPrinter(options, k)
	}
	detail := node.Detail
	node.Detail = ""
	if err := kong.DefaultHelpPrinter(options, k); err != nil {
		return err
	}
	_, err := fmt.Fprintf(k.Stdout, "\n%s\n", strings.ReplaceAll(strings.Trim(detail, "\n"), "\t", "    "))
	return err
}

func newParser(grammar *cli, w *world, exit func(int)) (*kong.Kong, error) {
	options := append(operationMappers(w),
		kong.Name("resflash"),
		kong.Description(description),
		kong.NoDefaultHelp(),
		kong.Writers(w.out, w.stderr),
		kong.Exit(exit),
		// find --perm -4000 and --size -10k are values, not flags.
		kong.WithHyphenPrefixedParameters(true),
		kong.Help(printHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Bind(w),
		kong.PostBuild(func(k *kong.Kong) error {
			for _, f := range k.Model.Flags {
				if f.Name == "help" {
					k.Model.HelpFlag = f
				}
			}
			return nil
		}),
	)
	return kong.New(grammar, options...)
}
