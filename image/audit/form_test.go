package audit

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// A form is what a JSON value must be. SARIF's objects are closed: a property
// that the standard does not name is wrong.
type form struct {
	kind     string // object, map, array, string, integer, boolean, bag (any properties)
	required []string
	props    map[string]*form
	of       *form    // of arrays and maps
	enum     []string // of strings
	least    float64  // of integers
	format   string   // of strings: uri, uri-reference
	atLeast  int      // of arrays
	unique   bool     // of arrays
}

func (f *form) check(at string, v any, wrong func(string, ...any)) {
	switch f.kind {
	case "object":
		o, ok := v.(map[string]any)
		if !ok {
			wrong("%s is no object", at)
			return
		}
		for _, name := range f.required {
			if _, ok := o[name]; !ok {
				wrong("%s: %s is missing", at, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(o)) {
			if p := f.props[name]; p != nil {
				p.check(at+"."+name, o[name], wrong)
			} else {
				wrong("%s: there is no %s", at, name)
			}
		}
	case "map":
		o, ok := v.(map[string]any)
		if !ok {
			wrong("%s is no object", at)
		}
		for name, x := range o {
			f.of.check(at+"."+name, x, wrong)
		}
	case "array":
		list, ok := v.([]any)
		if !ok || len(list) < f.atLeast {
			wrong("%s is no list of at least %d", at, f.atLeast)
		}
		seen := map[string]bool{}
		for i, x := range list {
			f.of.check(fmt.Sprintf("%s[%d]", at, i), x, wrong)
			text, _ := json.Marshal(x)
			if f.unique && seen[string(text)] {
				wrong("%s[%d] is there twice", at, i)
			}
			seen[string(text)] = true
		}
	case "string":
		s, ok := v.(string)
		if !ok || len(f.enum) > 0 && !slices.Contains(f.enum, s) {
			wrong("%s is %v", at, v)
		}
		f.uri(at, s, wrong)
	case "integer":
		if n, ok := v.(float64); !ok || n != math.Trunc(n) || n < f.least {
			wrong("%s is %v", at, v)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			wrong("%s is %v", at, v)
		}
	case "bag":
		o, ok := v.(map[string]any)
		if !ok {
			wrong("%s is no object", at)
		}
		if tags, ok := o["tags"]; ok {
			(&form{kind: "array", of: &form{kind: "string"}, unique: true}).check(at+".tags", tags, wrong)
		}
	}
}

// uriSigns are those of RFC 3986.
var uriSigns = regexp.MustCompile(`^([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*$`)

func (f *form) uri(at, s string, wrong func(string, ...any)) {
	if f.format == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil, !uriSigns.MatchString(s):
		wrong("%s: %q is no URI", at, s)
	case f.format == "uri" && !u.IsAbs():
		wrong("%s: %q is no absolute URI", at, s)
	}
}

// sarifForm is the part of the schema of SARIF 2.1.0 (OASIS, sarif-schema-2.1.0)
// that has to do with the objects of an audit, with every property that they may
// have there.
func sarifForm() *form {
	text := &form{kind: "string"}
	level := &form{kind: "string", enum: []string{"none", "note", "warning", "error"}}
	bag := &form{kind: "bag"}
	object := func(required string, props map[string]*form) *form {
		props["properties"] = bag
		return &form{kind: "object", required: strings.Fields(required), props: props}
	}
	list := func(of *form, least int, unique bool) *form {
		return &form{kind: "array", of: of, atLeast: least, unique: unique}
	}
	index := &form{kind: "integer", least: -1}
	message := object("text", map[string]*form{"text": text, "markdown": text, "id": text, "arguments": list(text, 0, false)})
	said := object("text", map[string]*form{"text": text, "markdown": text})
	artifact := object("uri", map[string]*form{"uri": {kind: "string", format: "uri-reference"}, "uriBaseId": text, "index": index, "description": message})
	region := object("", map[string]*form{
		"startLine": {kind: "integer", least: 1}, "startColumn": {kind: "integer", least: 1}, "endLine": {kind: "integer", least: 1}, "endColumn": {kind: "integer", least: 1},
		"charOffset": index, "charLength": {kind: "integer"}, "byteOffset": index, "byteLength": {kind: "integer"}, "message": message, "sourceLanguage": text,
	})
	location := object("", map[string]*form{
		"id": index, "physicalLocation": object("artifactLocation", map[string]*form{"artifactLocation": artifact, "region": region, "contextRegion": region}), "message": message,
	})
	rule := object("id", map[string]*form{
		"id": text, "guid": text, "name": text, "shortDescription": said, "fullDescription": said, "help": said, "helpUri": {kind: "string", format: "uri"},
		"defaultConfiguration": object("", map[string]*form{"enabled": {kind: "boolean"}, "level": level}),
	})
	driver := object("name", map[string]*form{
		"name": text, "fullName": text, "version": text, "semanticVersion": text, "organization": text, "product": text,
		"informationUri": {kind: "string", format: "uri"}, "rules": list(rule, 0, true),
	})
	notification := object("message", map[string]*form{"message": message, "level": level, "locations": list(location, 0, true), "timeUtc": text})
	invocation := object("executionSuccessful", map[string]*form{
		"executionSuccessful": {kind: "boolean"}, "exitCode": {kind: "integer", least: math.Inf(-1)}, "commandLine": text, "toolExecutionNotifications": list(notification, 0, false),
	})
	suppression := object("kind", map[string]*form{
		"kind": {kind: "string", enum: []string{"inSource", "external"}}, "status": {kind: "string", enum: []string{"accepted", "underReview", "rejected"}}, "justification": text, "guid": text, "location": location,
	})
	result := object("message", map[string]*form{
		"ruleId": text, "ruleIndex": index, "kind": {kind: "string", enum: []string{"notApplicable", "pass", "fail", "review", "open", "informational"}}, "level": level,
		"message": message, "locations": list(location, 0, false), "guid": text, "correlationGuid": text, "occurrenceCount": {kind: "integer", least: 1},
		"partialFingerprints": {kind: "map", of: text}, "fingerprints": {kind: "map", of: text}, "suppressions": list(suppression, 0, true),
		"baselineState": {kind: "string", enum: []string{"new", "unchanged", "updated", "absent"}},
	})
	run := object("tool", map[string]*form{
		"tool": object("driver", map[string]*form{"driver": driver}), "invocations": list(invocation, 0, false), "results": list(result, 0, false),
		"columnKind": {kind: "string", enum: []string{"utf16CodeUnits", "unicodeCodePoints"}}, "language": text, "defaultEncoding": text,
	})
	return object("version runs", map[string]*form{
		"$schema": {kind: "string", format: "uri"}, "version": {kind: "string", enum: []string{"2.1.0"}}, "runs": list(run, 0, false),
	})
}

func sarifProblems(t *testing.T, text []byte) []string {
	var log any
	require.NoError(t, json.Unmarshal(text, &log))
	var problems []string
	sarifForm().check("$", log, func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) })
	return problems
}

// Every report, whatever is in the image, has the form of SARIF 2.1.0.
func TestSARIFHasItsForm(t *testing.T) {
	testtool.Sequential(t)
	var b bytes.Buffer
	require.NoError(t, SARIF(&b, Tool{Version: "1.2"}, []*Report{messy(t), messy(t)}))
	assert.Empty(t, sarifProblems(t, b.Bytes()))
	good := b.String()
	b.Reset()
	require.NoError(t, SARIF(&b, Tool{}, nil))
	assert.Empty(t, sarifProblems(t, b.Bytes()), "of no image")
	eachSample(t, func(t *testing.T, system System, c sample) {
		var b bytes.Buffer
		require.NoError(t, SARIF(&b, Tool{}, []*Report{audit(t, one(t, systemFiles[system].with(c.bad).build()), Options{})}))
		assert.Empty(t, sarifProblems(t, b.Bytes()))
	})

	// The form is no sieve.
	for from, to := range map[string]string{
		`"version": "2.1.0"`: `"version": "2.0.0"`, `"level": "error"`: `"level": "fatal"`, `"ruleId"`: `"rule"`, `"startLine": 1`: `"startLine": 0`,
		`"kind": "external"`: `"kind": "outside"`, `"uri": "disk%20one.img`: `"uri": "disk one.img`, `"executionSuccessful": true`: `"executionSuccessful": "yes"`,
		`"name": "resflash"`: `"title": "resflash"`, `"https://`: `"//`,
	} {
		require.Contains(t, good, from)
		assert.NotEmpty(t, sarifProblems(t, []byte(strings.ReplaceAll(good, from, to))), to)
	}
}

// junitForm is what Jenkins' schema (junit-10.xsd) allows: attributes, and
// elements inside.
var junitForm = map[string]struct{ attrs, inside string }{
	"testsuites": {"name time tests failures errors", "testsuite"},
	"testsuite":  {"name tests failures errors group time skipped timestamp hostname id package file log url version", "testcase testsuite properties system-out system-err"},
	"testcase":   {"name classname time group file line status assertions", "skipped error failure system-out system-err"},
	"failure":    {"type message", ""}, "error": {"type message", ""}, "skipped": {"type message", ""},
}

func junitProblems(text []byte) (problems []string) {
	d := xml.NewDecoder(bytes.NewReader(text))
	var open []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return problems
		}
		if err != nil {
			return append(problems, err.Error())
		}
		switch e := token.(type) {
		case xml.StartElement:
			name := e.Name.Local
			inside := "testsuites"
			if len(open) > 0 {
				inside = junitForm[open[len(open)-1]].inside
			}
			if !slices.Contains(strings.Fields(inside), name) {
				problems = append(problems, fmt.Sprintf("%s inside %v", name, open))
			}
			has := map[string]bool{}
			for _, a := range e.Attr {
				has[a.Name.Local] = true
				if !slices.Contains(strings.Fields(junitForm[name].attrs), a.Name.Local) {
					problems = append(problems, fmt.Sprintf("%s has no %s", name, a.Name.Local))
				}
			}
			if strings.HasPrefix(name, "test") && !has["name"] {
				problems = append(problems, name+" without a name")
			}
			open = append(open, name)
		case xml.EndElement:
			open = open[:len(open)-1]
		}
	}
}

// Every report has the form of JUnit that Jenkins takes.
func TestJUnitHasItsForm(t *testing.T) {
	testtool.Sequential(t)
	var b bytes.Buffer
	require.NoError(t, JUnit(&b, Tool{}, []*Report{messy(t), messy(t)}))
	assert.Empty(t, junitProblems(b.Bytes()))
	for from, to := range map[string]string{"<testcase ": "<test ", " classname=": " class=", "<testsuites name": "<testsuites skipped=\"1\" name"} {
		assert.NotEmpty(t, junitProblems(bytes.ReplaceAll(b.Bytes(), []byte(from), []byte(to))), to)
	}
	eachSample(t, func(t *testing.T, system System, c sample) {
		var b bytes.Buffer
		require.NoError(t, JUnit(&b, Tool{}, []*Report{audit(t, one(t, systemFiles[system].with(c.bad).build()), Options{})}))
		assert.Empty(t, junitProblems(b.Bytes()))
	})
}
