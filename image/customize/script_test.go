package customize

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// scriptVars are the variables of the scripts here.
var scriptVars = map[string]string{"NAME": "fw7", "path": "/etc/x", "odd": "a'b\"${NAME} \\", "e": ""}

// What the lines of a script mean.
func TestScript(t *testing.T) {
	for text, want := range map[string][]Operation{
		"":                                  nil,
		"# only\n\n   # comments\n":         nil,
		"mkdir /a\n":                        {mkdir{"/a"}},
		"mkdir /a":                          {mkdir{"/a"}},
		"  mkdir\t /a b  \r\n":              {mkdir{"/a b"}},
		"write /a:  x  y \n":                {write{"/a", "  x  y"}},
		"write /a:it's \"so\" # \\d $x\n":   {write{"/a", `it's "so" # \d $x`}},
		"write /a:${NAME}.${NAME}$\n":       {write{"/a", "fw7.fw7$"}},
		"write ${path}:$${NAME} $$ ${e}.\n": {write{"/etc/x", "${NAME} $$ ."}},
		"write /a:${odd}\n":                 {write{"/a", scriptVars["odd"]}},
		"write /a:one \\\n  two\\\nthree\nmkdir /b":              {write{"/a", "one twothree"}, mkdir{"/b"}},
		"write /a:end \\\\\nmkdir /b":                            {write{"/a", `end \\`}, mkdir{"/b"}},
		"write /a:last \\":                                       {write{"/a", "last"}},
		"write \"/a:x\\n\\ty\\\"${NAME} \"\n":                    {write{"/a", "x\n\ty\"fw7 "}},
		"write '/a: ${NAME}\\n '\n":                              {write{"/a", " ${NAME}\\n "}},
		"write /a:<<END\none\n\t${NAME} \\\n # x\nEND\nmkdir /b": {write{"/a", "one\n\tfw7 \\\n # x\n"}, mkdir{"/b"}},
		"write ${path}:<<'END'\n${NAME}\nEND\n":                  {write{"/etc/x", "${NAME}\n"}},
		"write /a:<<-END\n\tone\n\t\ttwo\n\tEND\n":               {write{"/a", "one\ntwo\n"}},
		"write /a:head:<<END\nx\nEND\n":                          {write{"/a", "head:x\n"}},
		"write /a:<<END\nEND":                                    {write{"/a", ""}},
		"append-line /a:<<E\none\ntwo\nE\n":                      {appendLine{"/a", "one\ntwo"}},
		"write /a:cat <<END\n":                                   {write{"/a", "cat <<END"}},
	} {
		steps, err := ReadScript("s", strings.NewReader(text), scriptVars)
		if !assert.NoError(t, err, text) {
			continue
		}
		var ops []Operation
		for _, s := range steps {
			ops = append(ops, s.Operation)
		}
		assert.Equal(t, want, ops, text)
	}
}

// Where a script is wrong, and why.
func TestScriptErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll("sub", 0o755))
	for name, text := range map[string]string{
		"sub/one": "# one\ninclude two\n", "sub/two": "\n\nmkdir a\n", "loop": "include ./sub/../loop\n", "self": "include self",
		"good": "mkdir /good\ninclude sub/good\n", "sub/good": "mkdir /deep\n",
	} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	for text, want := range map[string]string{
		"mkdir /a\n\nnosuch /x\n":             "s:3: nosuch: there is no such operation",
		"mkdir /a\\\n/b\nmkdir x\n":           `s:3: mkdir: "x" is no path in the image`,
		"write /a:${NONE}\n":                  "s:1: the variable ${NONE} is not set: --set NONE=VALUE",
		"write /a:${}\n":                      "s:1: \"${}\": ${ begins a variable",
		"write /a:${NAME\n":                   "s:1: \"${NAME\": ${ begins a variable",
		"write \"/a:x\n":                      "s:1: the argument begins with a double quote",
		"write '/a:x\n":                       "s:1: the argument begins with a single quote",
		"\nwrite /a:<<END\nx\n":               "s:2: the here-document has no end: a line END",
		"write /a:<<'END\nx\nEND\n":           "s:1: <<'END: one quote is missing",
		"write /a:<<END\n${NONE}\nEND\n":      "s:1: the variable ${NONE} is not set",
		"# x\ninclude none\n":                 "s:2: open none: no such file",
		"include\n":                           "s:1: include what?",
		"include sub/one\n":                   `sub/two:3: mkdir: "a" is no path`,
		"include self\n":                      "self:1: include self: it includes itself",
		"include loop\n":                      "loop:1: include loop: it includes itself",
		"mkdir /a\x00\n":                      "s:1: has a zero byte in it",
		"mkdir /a\nedit /b:s/(/x/\n":          "s:2: edit: expression \"s/(/x/\": error parsing regexp",
		"chmod 0999:/x\n":                     "s:1: chmod: mode",
		"include " + strings.Repeat("x", 300): "file name too long",
	} {
		_, err := ReadScript("s", strings.NewReader(text), scriptVars)
		var where *ScriptError
		if assert.ErrorAs(t, err, &where, text) {
			assert.Contains(t, err.Error(), want, text)
		}
	}
	steps, err := ReadScript("s", strings.NewReader("include good\nmkdir /last"), nil)
	require.NoError(t, err)
	var at []string
	for _, s := range steps {
		at = append(at, s.At+" "+s.String())
	}
	assert.Equal(t, []string{"good:1 mkdir /good", "sub/good:1 mkdir /deep", "s:2 mkdir /last"}, at)
}

func TestParseVariable(t *testing.T) {
	name, value, err := ParseVariable("a_1=x=y ")
	require.NoError(t, err)
	assert.Equal(t, "a_1 x=y ", name+" "+value)
	for _, bad := range []string{"", "x", "=x", "1a=x", "a-b=x", "a}=x"} {
		_, _, err := ParseVariable(bad)
		assert.Error(t, err, bad)
	}
}

// Anything is a script or an error that says where; what is one, is the same
// when its operations are read again.
func FuzzScript(f *testing.F) {
	for _, text := range []string{
		"mkdir /a\n", "write /a:<<-'E'\n\tx\n\tE\n", "edit /a:s/(x)/$1\\n/gi; /y/d", "symlink a:/b:c:/d", "include s", "chmod u+x:/a\nchown 0:0:/a",
		"mknod 0600:c:1:2:/x", "truncate /a:1K", "write \"/a:\\x00\"", "write /a:$${x}${NAME}\\\n y", "root-password password:x\nssh-inject root:x", "extract x:/",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") || strings.Contains(text, "file:") || strings.Contains(text, "firstboot") {
			return // they read files of the host
		}
		steps, err := ReadScript("s", strings.NewReader(text), scriptVars)
		if err != nil {
			if where := (*ScriptError)(nil); !assert.ErrorAs(t, err, &where) {
				t.FailNow()
			}
			return
		}
		for _, s := range steps {
			require.NotEmpty(t, s.String())
			require.NotEmpty(t, s.At)
		}
		e, err := OnFS(newSmall(), Options{Record: true})
		require.NoError(t, err)
		e.opt.DryRun = true
		for _, s := range steps {
			switch s.Operation.(type) {
			case upload, copyIn, copyOut, unpack:
				continue // the host's
			case truncate:
				continue // a terabyte is a size
			}
			s.Apply(ctx, e)
		}
		_, err = e.Changes(ctx)
		require.NoError(t, err)
	})
}

func newSmall() *memfs.FS {
	fsys := memfs.New()
	fsys.AddDir("/etc")
	fsys.AddFile("/etc/passwd", []byte("root:x:0:0::/:/bin/sh\n"))
	fsys.AddFile("/a", []byte("x y\nz"))
	fsys.AddSymlink("/l", "etc")
	return fsys
}
