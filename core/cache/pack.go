package cache

import (
	"bytes"
	"encoding/json"

	"gatehouse/core"
)

// entryWeight is about what an entry takes beside its claims and texts, in bytes:
// the key, the item of the cache, the entry and the principal.
const entryWeight = 640

// packAbove is the weight of claims, in bytes, from which they are kept as JSON
// and decoded when they are read. Decoded claims with many small objects take up
// to twenty times their JSON; most credentials stay far below and are not packed.
const packAbove = 8 << 10

// kept is an entry as a Memory keeps it.
type kept struct {
	entry  Entry // its principal is without claims where they are packed
	packed []byte
	weight int
}

func pack(e Entry) *kept {
	k := &kept{entry: e, weight: entryWeight + len(e.Refusal)}
	if e.Principal == nil {
		return k
	}
	k.weight += weightOfTexts(e.Principal)
	claims := weightOf(e.Principal.Claims)
	if claims > packAbove {
		if text, err := json.Marshal(e.Principal.Claims); err == nil { // decoded JSON always encodes
			light := *e.Principal
			light.Claims = nil
			k.entry.Principal, k.packed, claims = &light, text, len(text)
		}
	}
	k.weight += claims
	return k
}

// unpack returns the entry with its claims. One that cannot be decoded is a miss.
func (k *kept) unpack() (Entry, bool) {
	if k.packed == nil {
		return k.entry, true
	}
	e, p := k.entry, *k.entry.Principal
	decoder := json.NewDecoder(bytes.NewReader(k.packed))
	decoder.UseNumber()
	if decoder.Decode(&p.Claims) != nil {
		return Entry{}, false
	}
	e.Principal = &p
	return e, true
}

// weightOfTexts is what a principal takes beside its claims.
func weightOfTexts(p *core.Principal) int {
	weight := len(p.Subject) + len(p.Issuer) + len(p.ClientID) + len(p.AAL) + len(p.ID) + len(p.SessionID)
	for a := p.Actor; a != nil; a = a.Before {
		weight += 56 + len(a.Subject) + len(a.Issuer) + len(a.ClientID)
	}
	for _, list := range [][]string{p.Scopes, p.Roles, p.Permissions} {
		for _, text := range list {
			weight += 16 + len(text)
		}
	}
	return weight
}

// weightOf estimates the memory of a decoded JSON value. Maps take groups of eight
// slots, each group 272 bytes, of which seven are filled before they grow.
func weightOf(value any) int {
	switch v := value.(type) {
	case string:
		return 16 + len(v)
	case json.Number:
		return 16 + len(v)
	case []any:
		weight := 24 + 16*len(v)
		for _, item := range v {
			weight += weightOf(item)
		}
		return weight
	case map[string]any:
		groups := 1
		for groups*7 < len(v) {
			groups *= 2
		}
		weight := 48 + 272*groups
		for name, item := range v {
			weight += len(name) + weightOf(item)
		}
		return weight
	}
	return 8
}
