package seal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/resflash/resflash/image/audit"
)

// Every fix that an audit speaks of can be made here, or is named as one that
// cannot.
func TestEveryFixHasAPlan(t *testing.T) {
	planned := map[string]int{}
	for _, x := range fixes {
		assert.True(t, (x.plan == nil) == (x.missing != ""), x.rules)
		for rule := range strings.FieldsSeq(x.rules) {
			planned[rule]++
			assert.True(t, audit.Known(rule), rule)
		}
	}
	for _, r := range audit.Rules() {
		if r.Fix.Safety == audit.Never {
			assert.Zero(t, planned[r.ID], "%s has no fix", r.ID)
		} else {
			assert.Equal(t, 1, planned[r.ID], r.ID)
		}
	}
}
