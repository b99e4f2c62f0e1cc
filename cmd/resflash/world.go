package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image"
)

// A world is what a verb has to work with. Standard output is data, standard
// error is talk.
type world struct {
	stdin      io.Reader
	out        *bufio.Writer // standard output
	stdout     io.Writer     // standard output, not buffered: for large contents
	stderr     io.Writer
	terminal   bool // standard output is one: names are made harmless
	width      int  // of the terminal, 80 if it is none
	quiet      bool
	json       bool // errors, too
	sectorSize int
	disks      map[string]*image.Disk // opened for reading
	edited     []*image.Disk          // opened for changing
	editor     *editor                // of the verb that runs, if it changes images
	names      map[*image.Volume]*ownerNames
	failure    int              // exit code of the errors so far
	operations []givenOperation // of the verb edit, in their order

	signalIsEnd bool     // a signal is how this verb ends: no failure
	atExit      []func() // called when all images are closed
}

func newWorld(stdin io.Reader, stdout, stderr io.Writer) *world {
	w := &world{
		stdin: stdin, out: bufio.NewWriterSize(stdout, 64<<10), stdout: stdout, stderr: stderr, width: 80,
		disks: map[string]*image.Disk{}, names: map[*image.Volume]*ownerNames{},
	}
	if f, ok := stdout.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			w.terminal = true
			if size.Col > 0 {
				w.width = int(size.Col)
			}
		}
	}
	return w
}

func (w *world) close() {
	for _, d := range w.disks {
		d.Close()
	}
	for _, d := range w.edited {
		d.Close() // what was not committed is gone
	}
	for _, fn := range w.atExit {
		fn()
	}
}

// fail reports an error and goes on; done tells the exit code in the end.
func (w *world) fail(err error) {
	code := exitCode(err)
	if code != exitInterrupted { // run says so
		w.report(err)
	}
	switch w.failure {
	case exitOK:
		w.failure = code
	case code:
	default:
		w.failure = exitFailure
	}
}

// problem is [world.fail] for libraries that hand over what went wrong on
// their way through an image. An interruption ends them.
func (w *world) problem(a address) func(path string, err error) error {
	return func(path string, err error) error {
		w.fail(fmt.Errorf("%s: %w", a.sibling(path), leaf(err)))
		return nil
	}
}

// sibling is the address of another file in the same volume.
func (a address) sibling(path string) string {
	if a.volume == "" {
		return a.image + ":" + path
	}
	return a.image + ":" + a.volume + ":" + path
}

// done is the result of a verb that reported its errors on the way.
func (w *world) done() error {
	if w.failure != exitOK {
		return reported{w.failure}
	}
	return nil
}

// report prints an error.
func (w *world) report(err error) {
	w.out.Flush()
	code, advice := exitCode(err), hint(err)
	if code == exitPipe {
		return
	}
	if w.json {
		json.NewEncoder(w.stderr).Encode(struct {
			Error string `json:"error"`
			Code  int    `json:"code"`
			Hint  string `json:"hint,omitempty"`
		}{err.Error(), code, advice})
		return
	}
	// Joined errors come in lines; names in them are anybody's.
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(w.stderr, "resflash: %s\n", escape(line))
	}
	if advice != "" {
		fmt.Fprintf(w.stderr, "hint: %s\n", advice)
	}
}

// note tells the user something that is no error.
func (w *world) note(format string, args ...any) {
	if w.quiet {
		return
	}
	w.out.Flush()
	fmt.Fprintf(w.stderr, "resflash: %s\n", escape(fmt.Sprintf(format, args...)))
}

// name is how a name from an image is printed: as it is into a file or pipe,
// and with control characters escaped on a terminal.
func (w *world) name(s string) string {
	if w.terminal {
		return escape(s)
	}
	return s
}

// printf prints to standard output. Its errors come back at the end, from
// flush.
func (w *world) printf(format string, args ...any) { fmt.Fprintf(w.out, format, args...) }

// document prints v as one JSON document.
func (w *world) document(v any) error {
	e := json.NewEncoder(w.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// A jsonArray prints a JSON array element by element, one per line, so that a
// list of any length needs no memory.
type jsonArray struct {
	w    *world
	some bool
}

func (a *jsonArray) add(v any) error {
	sep := "[\n"
	if a.some {
		sep = ",\n"
	}
	a.some = true
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	a.w.out.WriteString(sep)
	_, err := a.w.out.WriteString(strings.TrimSuffix(b.String(), "\n"))
	return err
}

func (a *jsonArray) end() {
	if !a.some {
		a.w.out.WriteString("[]\n")
		return
	}
	a.w.out.WriteString("\n]\n")
}
