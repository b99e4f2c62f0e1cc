package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseAddress(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"disk.img", "a:b", "a:b:c", "x:/y"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, nil, 0o600))
	}
	require.NoError(t, os.Mkdir("folder", 0o700))
	for _, tt := range []struct{ text, image, volume, path string }{
		{"disk.img", "disk.img", "", ""},
		{"disk.img:", "disk.img", "", ""},
		{"disk.img:/", "disk.img", "", "/"},
		{"disk.img:/etc/fstab", "disk.img", "", "/etc/fstab"},
		{"disk.img:cfg", "disk.img", "cfg", ""},
		{"disk.img:cfg:", "disk.img", "cfg", ""},
		{"disk.img:cfg:/", "disk.img", "cfg", "/"},
		{"disk.img:p4.a:/x", "disk.img", "p4.a", "/x"},
		{"disk.img:d:/with:colon", "disk.img", "d", "/with:colon"},
		{"disk.img:/with:/colon", "disk.img", "", "/with:/colon"},
		{"disk.img:label:with:colons:/x", "disk.img", "label:with:colons", "/x"},
		{"disk.img:etc/fstab", "disk.img", "etc/fstab", ""}, // no such volume
		// An existing file is an image as it stands, and the longest one wins.
		{"a:b", "a:b", "", ""},
		{"a:b:/etc", "a:b", "", "/etc"},
		{"a:b:c", "a:b:c", "", ""},
		{"a:b:c:/x", "a:b:c", "", "/x"},
		{"a:b:d:/x", "a:b", "d", "/x"},
		{"x:/y", "x:/y", "", ""},
		{"x:/y:/z", "x:/y", "", "/z"},
		{filepath.Join(dir, "a:b") + ":/etc", filepath.Join(dir, "a:b"), "", "/etc"},
		// What does not exist is cut at the first colon.
		{"none.img", "none.img", "", ""},
		{"none.img:d:/x", "none.img", "d", "/x"},
		{"folder:/x", "folder", "", "/x"},
		{":/x", ":/x", "", ""},
		{"", "", "", ""},
	} {
		got := parseAddress(tt.text, isHostFile)
		assert.Equal(t, tt, struct{ text, image, volume, path string }{got.text, got.image, got.volume, got.path})
	}
}

// The same address, whatever was typed, finds its way back to the same file.
func TestSiblingsAreAddresses(t *testing.T) {
	isFile := func(s string) bool { return s == "disk.img" }
	for _, text := range []string{"disk.img:/a", "disk.img:d:/a:b", "disk.img:role:/x/y"} {
		a := parseAddress(text, isFile)
		b := parseAddress(a.sibling("/other"), isFile)
		assert.Equal(t, a.image, b.image)
		assert.Equal(t, a.volume, b.volume)
		assert.Equal(t, "/other", b.path)
	}
}

func TestHostPathWithColons(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "disk:2025-01-01T00:00:00.img")
	require.NoError(t, os.Link(diskImage(t), name))
	out, errs, code := resflash("cat", name+":/try/plain")
	assert.Equal(t, "plain\n", out)
	assert.Empty(t, errs)
	assert.Equal(t, 0, code)
	out, _, _ = resflash("cat", name+":root:/try/plain")
	assert.Equal(t, "plain\n", out)
}
