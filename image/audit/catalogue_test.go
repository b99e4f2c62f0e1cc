package audit

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write RULES.md")

// RULES.md is made from the rules.
func TestCatalogue(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, CatalogueMarkdown(&b, Rules()))
	if *update {
		require.NoError(t, os.WriteFile("RULES.md", b.Bytes(), 0o644))
	}
	have, err := os.ReadFile("RULES.md")
	require.NoError(t, err)
	assert.Equal(t, b.String(), string(have), "go test ./image/audit -run TestCatalogue -update")
}

// Every rule says everything that a reader wants to know.
func TestRulesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	id := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, r := range Rules() {
		assert.Regexp(t, id, r.ID)
		assert.False(t, seen[r.ID], "%s is there twice", r.ID)
		seen[r.ID] = true
		assert.NotEmpty(t, r.Family, r.ID)
		assert.NotEmpty(t, r.Title, r.ID)
		assert.NotEmpty(t, r.Reason, r.ID)
		assert.NotEmpty(t, r.Evidence, r.ID)
		assert.NotEmpty(t, r.Fix.Detail, r.ID)
		assert.NotZero(t, r.Systems, r.ID)
		assert.NotZero(t, r.Severity, r.ID)
		switch r.Fix.Safety {
		case Conditional:
			assert.NotEmpty(t, r.Fix.Condition, r.ID)
			assert.NotEmpty(t, r.Fix.Verb, r.ID)
		case Safe, OptIn:
			assert.NotEmpty(t, r.Fix.Verb, r.ID)
		case Never:
			assert.Empty(t, r.Fix.Verb, r.ID)
		default:
			assert.Fail(t, "no safety", r.ID)
		}
		assert.NotRegexp(t, `[.]$`, r.Title, r.ID)
		assert.Regexp(t, `[.]$`, r.Reason, r.ID)
	}
}
