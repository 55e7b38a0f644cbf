package sharedcache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"gatehouse/core"
	"gatehouse/core/cache"
)

// record is an entry as it is kept.
type record struct {
	Principal *core.Principal `json:",omitempty"`
	Refusal   string          `json:",omitempty"`
	// Life is how long the record counts from when it was written, which Redis
	// measures, and Until when it ends by the clock of the node that wrote it. It
	// counts until the earlier of the two: clocks differ, and whoever writes to
	// Redis can make a value last.
	Life  time.Duration
	Until time.Time
	// Age is how long before that it was learned.
	Age time.Duration
}

// maxSkew is by how much the clocks of nodes may differ. Nodes that differ by more
// share nothing in one direction.
const maxSkew = 5 * time.Second

// encode returns the record of an entry, of at most limit bytes.
func encode(e cache.Entry, now time.Time, limit int) (plain []byte, life time.Duration, err error) {
	life = e.Until.Sub(now).Truncate(time.Millisecond) // as Redis counts
	if life <= 0 {
		return nil, 0, nil
	}
	plain, err = json.Marshal(record{e.Principal, e.Refusal, life, e.Until, max(0, now.Sub(e.Since))})
	if err == nil && len(plain) > limit {
		return nil, 0, errTooLarge
	}
	return plain, life, err
}

// decode returns the entry of a record of which so much life is left.
func decode(plain []byte, left time.Duration, now time.Time) (cache.Entry, error) {
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	var r record
	if err := decoder.Decode(&r); err != nil {
		return cache.Entry{}, fmt.Errorf("decode: %w", err)
	}
	left = min(left, r.Life, r.Until.Add(maxSkew).Sub(now))
	if left <= 0 {
		return cache.Entry{}, errors.New("its time is over")
	}
	return cache.Entry{Principal: r.Principal, Refusal: r.Refusal, Since: now.Add(left - r.Life - max(0, r.Age)), Until: now.Add(left)}, nil
}

// build names the program that writes values. Another version may judge credentials
// otherwise, or know parts of a principal that this one would leave out, so that
// versions share nothing.
var build = sync.OnceValue(buildName)

func buildName() string {
	h := sha256.New()
	describe(h.Write, reflect.TypeFor[record](), map[reflect.Type]bool{})
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintln(h, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
				fmt.Fprintln(h, s.Key, s.Value)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// describe writes the shape of a type.
func describe(write func([]byte) (int, error), t reflect.Type, seen map[reflect.Type]bool) {
	_, _ = write([]byte(t.String() + "\n"))
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		describe(write, t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			_, _ = write([]byte(t.Field(i).Name + " "))
			describe(write, t.Field(i).Type, seen)
		}
	}
}
