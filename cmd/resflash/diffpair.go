package main

import (
	"context"
	"slices"

	"github.com/resflash/resflash/image"
)

// A volumePair is two volumes that are compared.
type volumePair struct {
	first, second *image.Partition // nil: there is none
	a, b          address
}

// prefix is what a partition is called in front of a path: nothing, if it is all
// there is.
func prefix(p *image.Partition) string {
	if p.ID == "whole" {
		return ""
	}
	return p.ID + ":"
}

// pairVolumes finds out which volumes belong together.
func pairVolumes(ctx context.Context, first, second *image.Disk, a, b address) []volumePair {
	slots := first.Layout(ctx).Kind == image.LayoutResflash && second.Layout(ctx).Kind == image.LayoutResflash
	left := slices.Clone(second.Partitions())
	// take takes the one partition that is right out of those that are left.
	take := func(right func(*image.Partition) bool) *image.Partition {
		i := slices.IndexFunc(left, right)
		if i < 0 {
			return nil
		}
		p := left[i]
		left = slices.Delete(left, i, i+1)
		return p
	}
	var pairs []volumePair
	for _, p := range first.Partitions() {
		pair := volumePair{first: p, a: a, b: b}
		if !slots && p.Role != "" {
			pair.second = take(func(q *image.Partition) bool { return q.Role == p.Role })
		}
		pairs = append(pairs, pair)
	}
	for i := range pairs {
		p := &pairs[i]
		if p.second == nil {
			p.second = take(func(q *image.Partition) bool { return q.ID == p.first.ID && (slots || q.Role == p.first.Role) })
		}
	}
	if len(pairs) == 1 && pairs[0].second == nil && len(left) == 1 {
		pairs[0].second, left = left[0], nil // two images of one volume each
	}
	for _, q := range left {
		pairs = append(pairs, volumePair{second: q, a: a, b: b})
	}
	for i := range pairs {
		if p := &pairs[i]; p.first != nil {
			p.a.volume, p.a.colon = p.first.ID, true
		}
		if p := &pairs[i]; p.second != nil {
			p.b.volume, p.b.colon = p.second.ID, true
		}
	}
	return pairs
}
