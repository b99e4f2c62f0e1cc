package conformance_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/conformance"
)

func TestMain(m *testing.M) {
	conformance.ExerciseMain()
	m.Run()
}

// The table is right if the kernel's own file systems pass it.
func TestReference(t *testing.T) {
	dir, opt := conformance.Reference(t)
	n := conformance.Run(t, dir, opt)
	t.Logf("%d cases", n)
	assert.Greater(t, n, 400)
}

func TestExerciseReference(t *testing.T) {
	dir, opt := conformance.Reference(t)
	require.NoError(t, conformance.Exercise(dir, opt, 1, 500))
}
