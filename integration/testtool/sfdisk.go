package testtool

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Partitioned has sfdisk partition a new image of size bytes by a script, and
// returns its path.
func Partitioned(t testing.TB, size int64, lines ...string) string {
	t.Helper()
	Need(t, "sfdisk")
	img := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, size); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "--quiet", img)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	return img
}

// Partition is what sfdisk --json tells of one.
type Partition struct {
	Number   int    `json:"-"`
	Node     string `json:"node"` // taken apart: it is in Number
	Start    int64  `json:"start"`
	Size     int64  `json:"size"`
	Type     string `json:"type"`
	Bootable bool   `json:"bootable"` // MBR
	UUID     string `json:"uuid"`     // GPT, and so are the rest
	Name     string `json:"name"`
	Attrs    string `json:"attrs"`
}

// Partitions returns the partition table of an image as sfdisk reads it.
func Partitions(t testing.TB, img string) (id string, parts []Partition) {
	t.Helper()
	var dump struct {
		Table struct {
			ID         string      `json:"id"`
			Partitions []Partition `json:"partitions"`
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(Run(t, "sfdisk", "--json", img)), &dump); err != nil {
		t.Fatal(err)
	}
	for i := range dump.Table.Partitions {
		p := &dump.Table.Partitions[i]
		n, err := strconv.Atoi(strings.TrimPrefix(p.Node, img))
		if err != nil {
			t.Fatal(err)
		}
		p.Number, p.Node = n, ""
	}
	return dump.Table.ID, dump.Table.Partitions
}
