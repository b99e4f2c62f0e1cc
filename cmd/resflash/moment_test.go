package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2025-10-01":                time.Date(2025, 10, 1, 0, 0, 0, 0, time.Local),
		"2025-10-01 12:34":          time.Date(2025, 10, 1, 12, 34, 0, 0, time.Local),
		"2025-10-01T12:34:56Z":      time.Date(2025, 10, 1, 12, 34, 56, 0, time.UTC),
		"2025-10-01T12:34:56.5Z":    time.Date(2025, 10, 1, 12, 34, 56, 5e8, time.UTC),
		"2025-10-01T12:34:56+02:00": time.Date(2025, 10, 1, 10, 34, 56, 0, time.UTC),
		"@0":                        time.Unix(0, 0),
		"@-1":                       time.Unix(-1, 0),
		"@1700000000.000000001":     time.Unix(1700000000, 1),
		"@-1.25":                    time.Unix(-1, -25e7),
	} {
		got, err := parseTime(text)
		require.NoError(t, err, text)
		assert.True(t, want.Equal(got), "%s: %s", text, got)
	}
	for _, bad := range []string{"", "now", "@", "@x", "@1.0000000001", "2025-13-01", "12:00"} {
		_, err := parseTime(bad)
		assert.Error(t, err, bad)
	}
}

func TestParseStamp(t *testing.T) {
	at := time.Date(2031, 1, 1, 0, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"10011234":        time.Date(2031, 10, 1, 12, 34, 0, 0, time.Local),
		"2510011234.56":   time.Date(2025, 10, 1, 12, 34, 56, 0, time.Local),
		"7010011234":      time.Date(1970, 10, 1, 12, 34, 0, 0, time.Local),
		"202510011234":    time.Date(2025, 10, 1, 12, 34, 0, 0, time.Local),
		"202402290000.00": time.Date(2024, 2, 29, 0, 0, 0, 0, time.Local),
	} {
		got, err := parseStamp(text, at)
		require.NoError(t, err, text)
		assert.True(t, want.Equal(got), "%s: %s", text, got)
	}
	for _, bad := range []string{"", "1", "1001123", "13011234", "202302290000", "10011234.", "10011234.5", "1001123x"} {
		_, err := parseStamp(bad, at)
		assert.Error(t, err, bad)
	}
}

func TestSourceDateEpoch(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	got, err := now()
	require.NoError(t, err)
	assert.True(t, time.Unix(86400, 0).Equal(got))
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	_, err = now()
	assert.Equal(t, exitUsage, exitCode(err))
	t.Setenv("SOURCE_DATE_EPOCH", "")
	got, err = now()
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), got, time.Minute)
}
