package cache

import (
	"maps"
	"sync"
	"weak"
)

// Totals sums the counters of memos by a name. What memos that are gone had
// counted when they were last asked stays: a counter that falls reads as a
// restart.
type Totals struct {
	mu      sync.Mutex
	last    map[weak.Pointer[Memo]]count
	retired map[string]Stats // of memos that are gone, by name
}

type count struct {
	name string
	Stats
}

// Sum returns the totals with these memos, by name, as the ones in use.
func (t *Totals) Sum(memos map[*Memo]string) map[string]Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	live := map[weak.Pointer[Memo]]count{}
	for memo, name := range memos {
		live[weak.Make(memo)] = count{name, memo.Stats()}
	}
	t.retire(live)
	all := maps.Clone(t.retired)
	for _, now := range live {
		all[now.name] = sum(all[now.name], now.Stats)
	}
	return all
}

// retire keeps what the memos that are gone had counted.
func (t *Totals) retire(live map[weak.Pointer[Memo]]count) {
	if t.retired == nil {
		t.retired = map[string]Stats{}
	}
	for memo, was := range t.last {
		if _, lives := live[memo]; !lives {
			was.Positive.Entries, was.Negative.Entries = 0, 0
			was.Calls, was.Waiting = 0, 0
			was.Positive.Bytes, was.Negative.Bytes = 0, 0
			t.retired[was.name] = sum(t.retired[was.name], was.Stats)
		}
	}
	t.last = live
}

func sum(a, b Stats) Stats {
	return Stats{
		Hits:     a.Hits + b.Hits,
		Refusals: a.Refusals + b.Refusals,
		Misses:   a.Misses + b.Misses,
		Busy:     a.Busy + b.Busy,
		Calls:    a.Calls + b.Calls,
		Waiting:  a.Waiting + b.Waiting,
		Panics:   a.Panics + b.Panics,

		StoreErrors: a.StoreErrors + b.StoreErrors,

		Positive: SumStores(a.Positive, b.Positive),
		Negative: SumStores(a.Negative, b.Negative),
	}
}

// SumStores adds what two stores keep.
func SumStores(a, b StoreStats) StoreStats {
	return StoreStats{Entries: a.Entries + b.Entries, Bytes: a.Bytes + b.Bytes, Evictions: a.Evictions + b.Evictions}
}
