package signing

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxKeys bounds what services have to fetch and to look through.
const maxKeys = 20

// Set is several keys: one signs, and the others are published, so that services know
// a key before it signs and for as long as something counts that it has signed. It
// does not change.
type Set struct{ keys []*Key }

// NewSet puts keys together. Their ids differ.
func NewSet(keys ...*Key) (*Set, error) {
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("hold %d keys; want %d at most", len(keys), maxKeys)
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if seen[k.ID] {
			return nil, fmt.Errorf("hold two keys with the id %.80q", k.ID)
		}
		seen[k.ID] = true
	}
	return &Set{slices.Clone(keys)}, nil
}

// Merge puts sets together that may have keys in common.
func Merge(sets ...*Set) *Set {
	merged := &Set{}
	for _, s := range sets {
		for _, k := range s.keys {
			if !slices.ContainsFunc(merged.keys, func(other *Key) bool { return other.ID == k.ID }) {
				merged.keys = append(merged.keys, k)
			}
		}
	}
	return merged
}

// Keys are all of them, in their order.
func (s *Set) Keys() []*Key { return slices.Clone(s.keys) }

// Signer is the key that signs at a moment: the one that began last, and of several
// the first.
func (s *Set) Signer(now time.Time) (*Key, error) {
	var signer *Key
	for _, k := range s.keys {
		if k.signs(now) && (signer == nil || k.Begins.After(signer.Begins)) {
			signer = k
		}
	}
	if signer == nil {
		return nil, errors.New("none of the keys signs at present: each has ended or begins later; see gatehouse keys list")
	}
	return signer, nil
}

// JWKS is the set of public keys (RFC 7517) that services verify with.
func (s *Set) JWKS(now time.Time) []byte {
	document := struct {
		Keys []json.RawMessage `json:"keys"`
	}{[]json.RawMessage{}}
	for _, k := range s.keys {
		if !k.ended(now) {
			document.Keys = append(document.Keys, k.public)
		}
	}
	text, err := json.Marshal(document)
	if err != nil { // they were encoded before
		panic(err)
	}
	return text
}

// Algorithms are those of the keys, in the order of their names.
func (s *Set) Algorithms() []string {
	var names []string
	for _, k := range s.keys {
		names = append(names, k.Algorithm)
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}

// Rotation is how a set of keys is renewed.
type Rotation struct {
	// Algorithm of the new key; empty: that of the key that signs.
	Algorithm string
	// Publish is how long the new key is published before it signs: longer than
	// services keep a key set.
	Publish time.Duration
	// Keep is how long a key is published after it has signed for the last time:
	// longer than a token lives.
	Keep time.Duration
}

// Rotate adds a key that will sign, sets the end of the others and drops those that
// have ended. It refuses while a key waits to sign, so that keys do not pile up.
func (s *Set) Rotate(r Rotation, now time.Time) (renewed *Set, added *Key, err error) {
	signer, err := s.Signer(now)
	if err != nil {
		return nil, nil, err
	}
	algorithm := r.Algorithm
	if algorithm == "" {
		algorithm = signer.Algorithm
	}
	if added, err = Generate(algorithm, now); err != nil {
		return nil, nil, err
	}
	added.Begins = now.Add(r.Publish).Truncate(time.Second)
	keys := []*Key{added}
	for _, k := range s.keys {
		if k.Begins.After(now) {
			return nil, nil, fmt.Errorf("the key %s is published and begins to sign at %s; rotate after that", k.ID, k.Begins.UTC().Format(time.RFC3339))
		}
		if k.ended(now) {
			continue
		}
		ending := *k
		if end := added.Begins.Add(r.Keep); k.Ends.IsZero() || k.Ends.After(end) {
			ending.Ends = end
		}
		keys = append(keys, &ending)
	}
	renewed, err = NewSet(keys...)
	return renewed, added, err
}
