package fat

import "sync"

// bounded is a map for things that can be computed again: when the weights of
// its values pass a limit, some are dropped. Which ones is left to the order of
// the map, which is as good as random and needs no book-keeping on a hit.
type bounded[K comparable, V any] struct {
	limit int
	mu    sync.Mutex
	used  int
	m     map[K]weighed[V]
}

type weighed[V any] struct {
	v      V
	weight int
}

func newBounded[K comparable, V any](limit int) bounded[K, V] {
	return bounded[K, V]{limit: limit, m: make(map[K]weighed[V])}
}

func (b *bounded[K, V]) get(k K) (V, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w, ok := b.m[k]
	return w.v, ok
}

// put stores v; a value heavier than the limit is not kept.
func (b *bounded[K, V]) put(k K, v V, weight int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(k)
	for old := range b.m {
		if b.used+weight <= b.limit {
			break
		}
		b.drop(old)
	}
	if b.used+weight > b.limit {
		return
	}
	b.m[k] = weighed[V]{v, weight}
	b.used += weight
}

// drop removes k. Requires b.mu.
func (b *bounded[K, V]) drop(k K) {
	if w, ok := b.m[k]; ok {
		b.used -= w.weight
		delete(b.m, k)
	}
}

// forget removes k.
func (b *bounded[K, V]) forget(k K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(k)
}
