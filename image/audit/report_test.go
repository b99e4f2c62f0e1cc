package audit

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// messy is a report with findings of all severities, names that are not UTF-8,
// something waived and something unknown.
func messy(t *testing.T) *Report {
	f := systemFiles[Linux].with(shadow("$6$a$" + strings.Repeat("x", 86))).with(files{
		"/etc/machine-id": text(oneID + "\n"), "/etc/ssh/ssh_host_\xff<&>\"'_key": private(pemKey), "/etc/ssh/ssh_host_a b:c_key": private(pemKey + "2"),
		"/var/log/syslog": text("x"), "/etc/hostname": text("builder\x01name\n"), "/etc/mailname": text("x\n"),
	})
	fsys := f.build()
	target := one(t, fsys)
	target.Name = "/some/where/disk one.img"
	r := audit(t, target, Options{Waivers: []*Waiver{
		{Rule: "mailname", Reason: "we want it & need it", Line: 1}, {Rule: "soii", Reason: "never needed", Line: 9},
	}})
	r.Unknown = append(r.Unknown, &Gap{Volume: "p2", Path: "/x\xff", Reason: "input/output error", Rules: []string{"mailname"}})
	return r
}

// The parts of SARIF 2.1.0 that consumers rely on.
func TestSARIF(t *testing.T) {
	r := messy(t)
	var b bytes.Buffer
	require.NoError(t, SARIF(&b, Tool{Version: "1.2"}, []*Report{r}))
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version string
					Rules         []struct {
						ID                                      string
						ShortDescription, FullDescription, Help struct{ Text string }
						DefaultConfiguration                    struct{ Level string }
						Properties                              map[string]any
					}
				}
			}
			Invocations []struct {
				ExecutionSuccessful        *bool
				ToolExecutionNotifications []struct {
					Level   string
					Message struct{ Text string }
				}
			}
			Results []struct {
				RuleID              string
				RuleIndex           int
				Level               string
				Message             struct{ Text string }
				PartialFingerprints map[string]string
				Suppressions        []struct{ Kind, Status, Justification string }
				Locations           []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine *int }
					}
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &log))
	assert.Equal(t, "2.1.0", log.Version)
	assert.Contains(t, log.Schema, "sarif-2.1.0")
	require.Len(t, log.Runs, 1)
	run := log.Runs[0]
	levels := []string{"none", "note", "warning", "error"}
	ids := map[string]bool{}
	for _, rule := range run.Tool.Driver.Rules {
		assert.False(t, ids[rule.ID])
		ids[rule.ID] = true
		assert.NotEmpty(t, rule.ShortDescription.Text)
		assert.NotEmpty(t, rule.FullDescription.Text)
		assert.NotEmpty(t, rule.Help.Text)
		assert.Contains(t, levels, rule.DefaultConfiguration.Level)
		assert.NotEmpty(t, rule.Properties["security-severity"])
	}
	require.Len(t, run.Results, len(r.Findings), "one result for each finding")
	suppressed := 0
	for i, res := range run.Results {
		f := r.Findings[i]
		assert.Equal(t, f.Rule, res.RuleID)
		assert.Equal(t, res.RuleID, run.Tool.Driver.Rules[res.RuleIndex].ID)
		assert.Contains(t, levels, res.Level)
		assert.NotEmpty(t, res.Message.Text)
		assert.Equal(t, f.Fingerprint, res.PartialFingerprints["resflash/v1"])
		require.Len(t, res.Locations, 1)
		uri := res.Locations[0].PhysicalLocation.ArtifactLocation.URI
		u, err := url.Parse(uri)
		require.NoError(t, err, uri)
		assert.False(t, u.IsAbs() || strings.HasPrefix(uri, "/"), uri)
		assert.Equal(t, "disk one.img/whole"+f.Path, u.Path)
		if region := res.Locations[0].PhysicalLocation.Region; region != nil && region.StartLine != nil {
			assert.Positive(t, *region.StartLine)
		}
		for _, s := range res.Suppressions {
			suppressed++
			assert.Equal(t, "external", s.Kind)
			assert.Equal(t, "accepted", s.Status)
			assert.Equal(t, "we want it & need it", s.Justification)
		}
	}
	assert.Equal(t, 1, suppressed)
	require.Len(t, run.Invocations, 1)
	assert.NotNil(t, run.Invocations[0].ExecutionSuccessful)
	require.Len(t, run.Invocations[0].ToolExecutionNotifications, 1)
}

func TestJUnit(t *testing.T) {
	r := messy(t)
	r.Rules[slices.IndexFunc(r.Rules, func(v *Verdict) bool { return v.Rule == "snakeoil-key" })].Views["whole"] = Unknown
	var b bytes.Buffer
	require.NoError(t, JUnit(&b, Tool{}, []*Report{r}))
	var suites junitSuites
	require.NoError(t, xml.Unmarshal(b.Bytes(), &suites))
	var tests, failures, errors, skipped, said int
	seen := map[string]*junitCase{}
	for _, s := range suites.Suites {
		assert.Equal(t, s.Tests, len(s.Cases))
		said += s.Skipped
		for i := range s.Cases {
			c := &s.Cases[i]
			tests++
			key := c.Class + " " + c.Name
			assert.Nil(t, seen[key], key)
			seen[key] = c
			for _, f := range []struct {
				r *junitResult
				n *int
			}{{c.Failure, &failures}, {c.Error, &errors}, {c.Skipped, &skipped}} {
				if f.r != nil {
					*f.n++
				}
			}
		}
	}
	assert.Equal(t, []int{suites.Tests, suites.Failures, suites.Errors, said}, []int{tests, failures, errors, skipped})
	at := func(rule string) *junitCase { return seen["/some/where/disk one.img:whole "+rule] }
	assert.NotNil(t, at("machine-id-set").Failure)
	assert.NotNil(t, at("snakeoil-key").Error)
	assert.NotNil(t, at("obsd-random-seed").Skipped)
	assert.Nil(t, at("log-content").Failure, "notes fail nothing")
	assert.Nil(t, at("mailname").Failure, "what is waived fails nothing")
	assert.Equal(t, junitCase{Class: at("ike-key").Class, Name: "ike-key"}, *at("ike-key"))
}

// What a terminal shows is harmless, whatever names are in the image.
func TestText(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Text(&b, Tool{}, []*Report{messy(t)}))
	assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f]`, b.String())
	assert.Contains(t, b.String(), `ssh_host_\377<&>"'_key`)
	assert.Contains(t, b.String(), "waived: we want it & need it")
	assert.Contains(t, b.String(), "the waiver of soii in line 9 is not needed")
}

func TestNDJSON(t *testing.T) {
	r := messy(t)
	var b bytes.Buffer
	require.NoError(t, NDJSON(&b, Tool{}, []*Report{r}))
	all := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	require.Len(t, all, len(r.Findings))
	for _, l := range all {
		var f struct{ Image, Rule, Severity, Fingerprint string }
		require.NoError(t, json.Unmarshal([]byte(l), &f))
		assert.NotEmpty(t, f.Image+f.Rule)
		assert.Len(t, f.Fingerprint, 16)
	}
}

// A baseline is an earlier report: what is in it does not count, what is new
// does.
func TestBaseline(t *testing.T) {
	f := systemFiles[Linux].with(files{"/etc/machine-id": text(oneID + "\n")})
	var b bytes.Buffer
	require.NoError(t, JSON(&b, Tool{}, []*Report{audit(t, one(t, f.build()), Options{})}))
	known, err := ReadBaseline(&b)
	require.NoError(t, err)
	r := audit(t, one(t, f.build()), Options{Baseline: known})
	assert.Equal(t, Off, r.Worst())
	assert.Equal(t, Waived, status(r, "machine-id-set"))
	r = audit(t, one(t, f.with(files{"/etc/machine-id": text(otherID)}).build()), Options{Baseline: known})
	assert.Equal(t, Error, r.Worst(), "another ID is another finding")
	for _, bad := range []string{"", "x", "[{}]", `{"schema":"other"}`, "[null]"} {
		_, err := ReadBaseline(strings.NewReader(bad))
		assert.Error(t, err, bad)
	}
}

func TestWaivers(t *testing.T) {
	f := systemFiles[Linux].with(files{"/root/.ssh/authorized_keys": private(publicRSA), "/home/a/.ssh/authorized_keys": private(publicRSA)})
	at := func(day string, waivers string) *Report {
		list, err := ReadWaivers(strings.NewReader(waivers))
		require.NoError(t, err)
		now, err := time.Parse(time.DateOnly, day)
		require.NoError(t, err)
		return audit(t, one(t, f.build()), Options{Waivers: list, Now: now, Only: []string{"ssh"}})
	}
	open := func(r *Report) (n int) {
		for _, f := range r.Findings {
			if f.Open() {
				n++
			}
		}
		return n
	}
	const base = "# ours\n[[waiver]]\nrule = \"authorized-keys\"\nreason = \"ours\" # really\n"
	assert.Equal(t, 0, open(at("2026-01-01", base)))
	r := at("2026-01-01", base+"path = '/root/.ssh/*'\nvolume = \"root\"\nexpires = \"2026-02-01\"\n")
	assert.Equal(t, 1, open(r))
	assert.Empty(t, r.Notes)
	r = at("2026-02-01", base+"expires = \"2026-02-01\"\n")
	assert.Equal(t, 2, open(r))
	assert.Equal(t, []string{"the waiver of authorized-keys in line 2 has expired on 2026-02-01"}, r.Notes)
	assert.Equal(t, 2, open(at("2026-01-01", base+"volume = \"cfg\"\n")))
	key := strings.Fields(r.Findings[0].Evidence)[1]
	assert.Equal(t, 0, open(at("2026-01-01", base+"fingerprint = \""+key+"\"\n")), "the key is pinned")
	assert.Equal(t, 1, open(at("2026-01-01", base+"fingerprint = \""+r.Findings[0].Fingerprint+"\"\n")), "the finding is pinned")
	assert.Equal(t, 2, open(at("2026-01-01", base+"fingerprint = \"SHA256:other\"\n")))
	for text, want := range map[string]string{
		"[[waiver]]\nreason = \"x\"\n":                                          "line 1: a waiver needs a rule",
		"[[waiver]]\nrule = \"mailname\"\n":                                     "line 1: a waiver needs a reason",
		"\n[[waiver]]\nrule = \"nosuch\"\nreason = \"x\"\n":                     `line 2: no rule is called "nosuch"`,
		"[[waiver]]\nrule = \"mailname\"\nreason = \"x\"\nexpires = \"soon\"\n": `line 1: expires "soon": want a date such as 2027-01-31`,
		"[[waiver]]\nrule = \"mailname\"\nreason = \"x\"\npaths = \"/\"\n":      `line 4: "paths" is not known here`,
		"[waiver]\nrule = \"mailname\"\n":                                       "line 1: only [[waiver]] is known here",
		"rule = \"mailname\"\n":                                                 `line 1: "rule" is not known here`,
		"[[waiver]]\nrule = mailname\n":                                         "line 2: rule: want a string in quotes",
		"[[waiver]]\nrule = \"a\"\nrule = \"b\"\n":                              "line 3: rule is given twice",
		"[[waiver]]\nrule = [\"a\"]\nreason = \"x\"\n":                          "line 2: rule is one string, not a list",
		"[[waiver]]\nrule = \"mailname\" x\n":                                   `line 2: rule: "x" follows the value`,
		"[[waiver]]\nrule = \"mailname\"\nreason = \"x\"\npath = \"[\"\n":       `line 1: path "[": syntax error in pattern`,
		"[[]]\n": "line 1: a table's name is written [name] or [[name]]",
	} {
		_, err := ReadWaivers(strings.NewReader(text))
		assert.EqualError(t, err, want, text)
	}
}

func TestPolicy(t *testing.T) {
	p, err := ReadPolicy(strings.NewReader("profile = \"public\"\n[severity]\nmailname = \"off\"\n[allow]\nsetuid-inventory = [\n  \"/usr/bin/su\", # needed\n  \"/usr/bin/s*\",\n]\nusers = [\"op\"]\nfingerprints = [\"SHA256:x\"]\n"))
	require.NoError(t, err)
	assert.Equal(t, &Policy{Profile: Public, Severity: map[string]Severity{"mailname": Off}, Allow: map[string][]string{"setuid-inventory": {"/usr/bin/su", "/usr/bin/s*"}}, Users: []string{"op"}, Values: []string{"SHA256:x"}}, p)
	f := systemFiles[Linux].with(files{"/etc/mailname": text("x\n"), "/usr/bin/su": moded(0o4755, "x"), "/usr/bin/other": moded(0o4755, "x")})
	r := audit(t, one(t, f.build()), Options{Policy: p})
	assert.Equal(t, Public, r.Profile)
	assert.Equal(t, []string{"/usr/bin/other"}, found(r, "setuid-inventory"))
	assert.Equal(t, Status("no rule mailname"), status(r, "mailname"))
	for _, bad := range []string{"profile = \"x\"", "[severity]\nmailname = \"bad\"", "[severity]\nnosuch = \"off\"", "[other]\n", "[allow]\nmailname = [\"[\"]", "[allow]\nmailname = [\"a\" \"b\"]"} {
		_, err := ReadPolicy(strings.NewReader(bad))
		assert.Error(t, err, bad)
	}
}
