package lazyregexp

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The first use may come from several sides at once.
func TestFirstUse(t *testing.T) {
	re := New(`a(b*)`)
	assert.Nil(t, re.re, "nobody has asked yet")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { assert.Equal(t, []string{"abb", "bb"}, re.FindStringSubmatch("xabb")) })
	}
	all.Wait()
}

func TestWrongPattern(t *testing.T) {
	re := New(`a(`)
	assert.Panics(t, func() { re.MatchString("a") })
}
