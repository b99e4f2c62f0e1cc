package part

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEntryID(t *testing.T) {
	for _, c := range []struct {
		scheme string
		index  int
		want   string
	}{
		{"MBR", 1, "p1"}, {"GPT", 128, "p128"}, {"disklabel", 0, "a"}, {"disklabel", 15, "p"},
		{"disklabel", 25, "z"}, {"disklabel", 26, "A"}, {"disklabel", 51, "Z"},
	} {
		assert.Equal(t, c.want, Entry{Index: c.index}.ID(c.scheme))
	}
}

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		units uint64
		unit  int
		want  int64
		ok    bool
	}{
		{0, 512, 0, true},
		{1 << 32, 512, 1 << 41, true},
		{math.MaxInt64 / 512, 512, math.MaxInt64 / 512 * 512, true},
		{math.MaxInt64/512 + 1, 512, 0, false},
		{math.MaxUint64, 1, 0, false},
		{math.MaxUint64, 4096, 0, false},
		{1, 0, 0, false},
		{1, -1, 0, false},
	} {
		got, ok := Bytes(c.units, c.unit)
		assert.Equal(t, c.ok, ok, "%d × %d", c.units, c.unit)
		assert.Equal(t, c.want, got, "%d × %d", c.units, c.unit)
	}
}

// table makes a table of entries from pairs of start and size.
func table(pairs ...int64) *Table {
	t := &Table{Scheme: "MBR"}
	for i := 0; i < len(pairs); i += 2 {
		t.Entries = append(t.Entries, Entry{Index: 1 + i/2, Start: pairs[i], Size: pairs[i+1]})
	}
	return t
}

func details(t *Table) (list []string) {
	for _, p := range t.Problems {
		list = append(list, p.Detail)
	}
	return list
}

func at(i int) int64 { return int64(i) }

func TestCheckOverlaps(t *testing.T) {
	for name, c := range map[string]struct {
		pairs []int64
		want  []string
	}{
		"adjacent":        {[]int64{0, 10, 10, 10, 20, 10}, nil},
		"not in order":    {[]int64{20, 10, 0, 10, 10, 10}, nil},
		"same":            {[]int64{5, 10, 5, 10}, []string{"partition p2 overlaps partition p1"}},
		"one byte":        {[]int64{0, 11, 10, 10}, []string{"partition p2 overlaps partition p1"}},
		"inside, twice":   {[]int64{0, 100, 10, 5, 50, 5}, []string{"partition p2 overlaps partition p1", "partition p3 overlaps partition p1"}},
		"later in number": {[]int64{50, 10, 0, 100}, []string{"partition p2 overlaps partition p1"}},
		"empty":           {[]int64{0, 100, 10, 0}, nil},
	} {
		tab := table(c.pairs...)
		tab.CheckOverlaps(at, nil)
		assert.Equal(t, c.want, details(tab), name)
	}

	tab := table(0, 100, 10, 5, 50, 5)
	tab.Entries[0].Container = true
	tab.CheckOverlaps(at, nil)
	assert.Empty(t, tab.Problems, "containers overlap what they contain")

	tab = table(0, 100, 10, 5, 50, 5)
	tab.CheckOverlaps(at, func(e Entry) bool { return e.Index == 1 })
	assert.Empty(t, tab.Problems, "what is skipped")
}

func TestCheckBounds(t *testing.T) {
	tab := table(0, 100, 90, 11, 100, 1, math.MaxInt64-5, 5)
	tab.CheckBounds(100, at)
	assert.Equal(t, []string{
		"partition p2 ends at byte 101, behind the end of the disk at byte 100",
		"partition p3 starts at byte 100, behind the end of the disk at byte 100",
		"partition p4 starts at byte 9223372036854775802, behind the end of the disk at byte 100",
	}, details(tab))
	var outside []bool
	for _, e := range tab.Entries {
		outside = append(outside, e.Outside)
	}
	assert.Equal(t, []bool{false, true, true, true}, outside)
	assert.EqualError(t, tab.Problems[0], "partition p2 ends at byte 101, behind the end of the disk at byte 100 (at byte 1)")
}
