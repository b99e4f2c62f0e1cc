package fsck

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A victim is a healthy volume with what a test must know to damage it.
type victim struct {
	*image
	*checker
	files  map[string]string
	chains []uint32          // clusters in use
	owner  map[int64]string  // by offset of a slot: whose it is
	holder map[uint32]string // by cluster
	shorts []int64           // offsets of entries
	longs  []int64
}

func newVictim(t testing.TB, k kind) *victim {
	v := &victim{image: newImage(t, k), owner: map[int64]string{}, holder: map[uint32]string{}}
	var err error
	v.files, err = v.image.files()
	require.NoError(t, err)
	v.checker = newChecker(ctx, blockio.NewMemory(v.data), vfs.RepairNone, nil)
	require.NoError(t, v.round())
	own := func(start uint32, path string) {
		for v.holds(start) {
			v.chains = append(v.chains, start)
			v.holder[start] = path
			start, err = v.table.get(start)
			require.NoError(t, err)
		}
	}
	own(v.rootCluster(), "/")
	for ref := range v.dirs {
		d, err := v.load(ref)
		require.NoError(t, err)
		path := v.path(ref)
		for i := range d.firstSlot() {
			v.shorts = append(v.shorts, v.slotOff(d, i))
			v.owner[v.slotOff(d, i)] = path
		}
		list, err := v.entries(d, true)
		require.NoError(t, err)
		for _, e := range list {
			for i := e.first; i <= e.slot; i++ {
				v.owner[v.slotOff(d, i)] = v.entryPath(d, e)
				if i < e.slot {
					v.longs = append(v.longs, v.slotOff(d, i))
				}
			}
			v.shorts = append(v.shorts, v.slotOff(d, e.slot))
			own(v.start(&e.dirent), v.entryPath(d, e))
		}
	}
	return v
}

// set changes an entry of all tables, or of one.
func (v *victim) set(img *image, cluster, value uint32, tables ...int) {
	if len(tables) == 0 {
		tables = []int{0, 1}
	}
	for _, n := range tables {
		v.bits.Put(img.data[v.tableOff(n)+v.bits.Offset(cluster):], cluster, value)
	}
}

func (v *victim) get(img *image, cluster uint32) uint32 {
	return v.bits.Entry(img.data[v.tableOff(0)+v.bits.Offset(cluster):], cluster)
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// freeCluster returns a cluster that is not in use.
func (v *victim) freeCluster(r *rand.Rand) uint32 {
	for {
		if c := ondisk.FirstCluster + r.Uint32N(v.clusters); !v.owned.has(c) {
			return c
		}
	}
}

// anyValue is something to put into the table.
func (v *victim) anyValue(r *rand.Rand) uint32 {
	switch r.IntN(7) {
	case 0:
		return 0
	case 1:
		return 1
	case 2:
		return v.bits.Bad()
	case 3:
		return v.end + r.Uint32N(8)
	case 4:
		return pick(r, v.chains)
	case 5:
		return r.Uint32() & v.bits.Mask()
	}
	return v.endMark()
}

// damages are the kinds of accidents. Each tells whose files it may harm: paths,
// with all that is below.
var damages = []struct {
	name string
	do   func(v *victim, img *image, r *rand.Rand) (harmed []string)
}{
	{"table", func(v *victim, img *image, r *rand.Rand) []string {
		c := pick(r, v.chains)
		v.set(img, c, v.anyValue(r))
		return []string{v.holder[c]}
	}},
	{"free entry", func(v *victim, img *image, r *rand.Rand) []string {
		for range 1 + r.IntN(5) {
			v.set(img, v.freeCluster(r), v.anyValue(r))
		}
		return nil
	}},
	{"one table", func(v *victim, img *image, r *rand.Rand) []string {
		c := pick(r, v.chains)
		v.set(img, c, v.anyValue(r), r.IntN(2))
		return []string{v.holder[c]}
	}},
	{"cross link", func(v *victim, img *image, r *rand.Rand) []string {
		c := pick(r, v.chains)
		v.set(img, c, pick(r, v.chains))
		return []string{v.holder[c]}
	}},
	{"cut chain", func(v *victim, img *image, r *rand.Rand) []string {
		c := pick(r, v.chains)
		next := v.get(img, c)
		v.set(img, c, v.endMark())
		for r.IntN(2) == 0 && v.holds(next) {
			after := v.get(img, next)
			v.set(img, next, 0)
			next = after
		}
		return []string{v.holder[c]}
	}},
	{"entry byte", func(v *victim, img *image, r *rand.Rand) []string {
		off := pick(r, v.shorts)
		img.data[off+r.Int64N(32)] = byte(r.Uint32())
		return []string{v.owner[off]}
	}},
	{"start", func(v *victim, img *image, r *rand.Rand) []string {
		off := pick(r, v.shorts)
		e := ondisk.DecodeDirent(img.data[off:])
		v.setStart(&e, pick(r, v.chains))
		e.Encode(img.data[off:])
		return []string{v.owner[off]}
	}},
	{"long name", func(v *victim, img *image, r *rand.Rand) []string {
		off := pick(r, v.longs)
		img.data[off+r.Int64N(32)] = byte(r.Uint32())
		return []string{v.owner[off]}
	}},
	{"slot", func(v *victim, img *image, r *rand.Rand) []string {
		off := pick(r, append(v.longs, v.shorts...))
		switch slot := img.data[off:][:32]; r.IntN(4) {
		case 0:
			clear(slot)
		case 1:
			slot[0] = ondisk.MarkDeleted
		case 2:
			other := pick(r, append(v.longs, v.shorts...))
			copy(slot, img.data[other:][:32])
		default:
			for i := range slot {
				slot[i] = byte(r.Uint32())
			}
		}
		return []string{v.owner[off]}
	}},
	{"directory cluster", func(v *victim, img *image, r *rand.Rand) []string {
		off := pick(r, v.shorts)
		off -= (off - v.dataOff) % v.clusterSize
		if off < v.dataOff {
			return nil
		}
		p := img.data[off:][:v.clusterSize]
		for i := range p {
			if r.IntN(20) == 0 {
				p[i] = byte(r.Uint32())
			}
		}
		return []string{v.holder[uint32((off-v.dataOff)/v.clusterSize)+2]}
	}},
	{"boot sector", func(v *victim, img *image, r *rand.Rand) []string {
		at := r.Int64N(512)
		if v.bits == 32 && r.IntN(2) == 0 {
			at += 6 * 512
		}
		img.data[at] = byte(r.Uint32())
		return nil
	}},
	{"FSInfo", func(v *victim, img *image, r *rand.Rand) []string {
		if v.bits == 32 {
			img.data[512+pick(r, []int64{0, 1, 484, 488, 489, 490, 491, 492, 493, 494, 495, 508, 510, 511})] = byte(r.Uint32())
		}
		return nil
	}},
	{"first entries", func(v *victim, img *image, r *rand.Rand) []string {
		v.set(img, r.Uint32N(2), r.Uint32()&v.bits.Mask())
		return nil
	}},
	{"several", func(v *victim, img *image, r *rand.Rand) (harmed []string) {
		for range 2 + r.IntN(10) {
			c := pick(r, v.chains)
			v.set(img, c, v.anyValue(r))
			off := pick(r, v.shorts)
			img.data[off+r.Int64N(32)] = byte(r.Uint32())
			harmed = append(harmed, v.holder[c], v.owner[off])
		}
		return harmed
	}},
}

// accidents is how many of each kind are tried: more with RESFLASH_ACCIDENTS.
func accidents() int {
	if n, err := strconv.Atoi(os.Getenv("RESFLASH_ACCIDENTS")); err == nil {
		return n
	}
	return 12
}

// fsck.fat is the judge: where it sees damage, so do we; after a repair neither
// sees any, and what was not harmed is as it was.
func TestAgreement(t *testing.T) {
	testtool.Sequential(t)
	for _, k := range kinds {
		v := newVictim(t, k)
		n := accidents()
		if k.kib > 20<<10 {
			n = (n + 2) / 3 // these take longer
		}
		for _, what := range damages {
			t.Run(k.name+"/"+what.name, func(t *testing.T) {
				for seed := range uint64(n) {
					r := rand.New(rand.NewPCG(seed, 42))
					img := v.image.clone()
					img.t = t
					harmed := what.do(v, img, r)
					if !v.judge(t, img, harmed) {
						t.Logf("seed %d", seed)
					}
				}
			})
		}
	}
}

// What went wrong once: an entry that was made to lead to a directory came
// before the one to which the directory belongs, and got it.
func TestDirectoryStaysWhereItsDotDotLeads(t *testing.T) {
	testtool.Sequential(t)
	slot := 0
	for damages[slot].name != "slot" {
		slot++
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			v := newVictim(t, k)
			img := v.image.clone()
			img.t = t
			v.judge(t, img, damages[slot].do(v, img, rand.New(rand.NewPCG(55, 42))))
		})
	}
}

func (v *victim) judge(t *testing.T, img *image, harmed []string) bool {
	start := time.Now()
	found, err := img.check()
	said, bad := img.fsckfat()
	if err != nil {
		return requireClear(t, err)
	}
	ok := true
	fail := func(format string, args ...any) {
		ok = false
		t.Errorf(format, args...)
	}
	if bad && len(found) == 0 {
		fail("fsck.fat sees damage, and we do not:\n%s", said)
	}
	mended, err := img.repair(vfs.RepairAll)
	if err != nil {
		fail("repair: %v\nfound:\n%s", err, tell(found))
		return false
	}
	if left, err := img.check(); err != nil || len(left) > 0 {
		fail("left: %v\n%s", err, tell(left))
	}
	if said, bad := img.fsckfat(); bad || !silent(said) {
		fail("fsck.fat after the repair:\n%s\nfound:\n%s\nmended:\n%s", said, tell(found), tell(mended))
	}
	after, err := img.files()
	if err != nil {
		fail("read after the repair: %v\n%s", err, tell(mended))
	}
	for path, sum := range v.files {
		if isBelow(path, harmed) {
			continue
		}
		if after[path] != sum {
			fail("%s was not harmed (%q were), and is now %q\n%s", path, harmed, after[path], tell(mended))
			break
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		fail("took %v", d)
	}
	return ok
}

func isBelow(path string, harmed []string) bool {
	for _, h := range harmed {
		if h == "/" || path == h || strings.HasPrefix(path, h+"/") {
			return true
		}
	}
	return false
}

// silent reports whether fsck.fat had nothing to say but who it is, and how much
// there is.
func silent(said string) bool {
	for _, line := range strings.Split(strings.TrimSpace(said), "\n") {
		if !strings.HasPrefix(line, "fsck.fat ") && !strings.Contains(line, " files, ") {
			return false
		}
	}
	return true
}

// requireClear asks of an error that it says what is wrong.
func requireClear(t testing.TB, err error) bool {
	var corrupt *vfs.CorruptError
	var no *vfs.NotSupportedError
	if !errors.As(err, &corrupt) && !errors.As(err, &no) {
		t.Errorf("unclear error: %v", err)
		return false
	}
	return true
}
