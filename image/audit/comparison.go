package audit

import (
	"context"
	"slices"
)

// A Comparison is what two images of one product have in common that they must
// not, and where they differ.
type Comparison struct {
	Schema      string        `json:"schema"`
	Tool        string        `json:"tool,omitempty"`
	First       string        `json:"first"`
	Second      string        `json:"second"`
	Shared      []*Shared     `json:"shared"`
	Differences []*Difference `json:"differences"`
	More        int           `json:"more,omitempty"` // differences beyond the limit
	Unknown     []*Gap        `json:"unknown"`        // what could not be read, in either
}

// ComparisonSchema names the form of a JSON comparison.
const ComparisonSchema = "resflash-compare-1"

// maxDifferences bounds the list: two images may have nothing in common.
const maxDifferences = 20000

// CompareTargets compares two images that have been audited: their secrets,
// and every file of the volumes that are in both. Times, inode numbers and the
// sizes of directories are left out: no two builds have the same.
func CompareTargets(ctx context.Context, first, second *Target, a, b *Report) (*Comparison, error) {
	c := &Comparison{
		Schema: ComparisonSchema, First: first.Name, Second: second.Name,
		Shared: Compare(a, b), Differences: []*Difference{}, Unknown: []*Gap{},
	}
	c.Unknown = append(append(c.Unknown, a.Unknown...), b.Unknown...)
	taken := map[*Volume]bool{}
	for _, v := range first.Volumes {
		w := partner(v, second.Volumes, taken)
		if w == nil {
			c.add(&Difference{Volume: v.ID, In: InFirst, Changed: []string{"volume"}})
			continue
		}
		taken[w] = true
		if v.Tree == nil || w.Tree == nil {
			continue // closed ones are in Unknown, and swap has no files
		}
		d := &differ{ctx: ctx, into: c, sides: [2]side{newSide(v, a), newSide(w, b)}}
		if err := d.compare(); err != nil {
			return nil, err
		}
	}
	for _, w := range second.Volumes {
		if !taken[w] {
			c.add(&Difference{Other: w.ID, In: InSecond, Changed: []string{"volume"}})
		}
	}
	return c, nil
}

// partner finds the volume of another image that is the same one of the
// product: it has the same place, or else the same role.
func partner(v *Volume, all []*Volume, taken map[*Volume]bool) *Volume {
	for _, same := range []func(w *Volume) bool{
		func(w *Volume) bool { return w.ID == v.ID && w.Role == v.Role },
		func(w *Volume) bool { return w.Role == v.Role && v.Role != "" },
		func(w *Volume) bool { return w.ID == v.ID },
	} {
		if i := slices.IndexFunc(all, func(w *Volume) bool { return !taken[w] && same(w) }); i >= 0 {
			return all[i]
		}
	}
	return nil
}

func (c *Comparison) add(d *Difference) {
	if len(c.Differences) == maxDifferences {
		c.More++
		return
	}
	c.Differences = append(c.Differences, d)
}

// Unexplained are the differences that neither a rule nor the way in which
// systems are built accounts for.
func (c *Comparison) Unexplained() []*Difference {
	var list []*Difference
	for _, d := range c.Differences {
		if d.Cause == "" {
			list = append(list, d)
		}
	}
	return list
}
