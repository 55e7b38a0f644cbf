package revocations

import (
	"bytes"
	"crypto/sha1" // as Redis computes it; what is secret or forgeable rests on the seal
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/fleet/seal"
	"gatehouse/core/revocation"
)

// id is that of an entry: when its epoch began, by the clock of Redis in milliseconds, and
// its number in the epoch. The first one has 1, and there are no gaps.
type id struct{ epoch, number uint64 }

func (i id) String() string { return fmt.Sprintf("%d-%d", i.epoch, i.number) }

func (i id) next() id { return id{i.epoch, i.number + 1} }

func parseID(text string) id {
	epoch, number, _ := strings.Cut(text, "-")
	var i id
	i.epoch, _ = strconv.ParseUint(epoch, 10, 64)
	i.number, _ = strconv.ParseUint(number, 10, 64)
	return i
}

// version is that of the format of a record. A node that meets a newer one cannot tell
// what it revokes.
const version = 1

// record is what an entry says. It is sealed and bound to its id, so that nobody else can
// write one, move one or put one in another's place; it names the entry before it, so that
// none can be left out.
type record struct {
	Version int `json:"v"`
	// Previous is the digest of the entry before it; empty: it is the first of its epoch.
	Previous string `json:"previous,omitempty"`
	// Oldest is the number of the oldest entry that has to be there. What is older was
	// removed because its time was over.
	Oldest uint64 `json:"oldest"`
	// At is when it was written, by the clock of Redis.
	At time.Time `json:"at"`
	// Restored says that its events were published before and lost.
	Restored bool               `json:"restored,omitempty"`
	Events   []revocation.Event `json:"events,omitempty"`
}

// until is when no event of it matters any more; zero: it has none.
func (r *record) until() time.Time {
	var until time.Time
	for _, e := range r.Events {
		if e.Until.After(until) {
			until = e.Until
		}
	}
	return until
}

// tip is the last entry that was read.
type tip struct {
	id id
	// digest names its value in the entry after it, sum in the scripts.
	digest, sum string
	oldest      uint64
}

func tipOf(i id, value string, r *record) *tip {
	digest := sha256.Sum256([]byte(value))
	return &tip{id: i, digest: hex.EncodeToString(digest[:]), sum: sumOf(value), oldest: r.Oldest}
}

func sumOf(value string) string {
	sum := sha1.Sum([]byte(value))
	return hex.EncodeToString(sum[:])
}

// nameOf binds a value to its place.
func nameOf(key string, i id) []byte { return []byte(key + " " + i.String()) }

func sealRecord(box *seal.Box, key string, i id, r *record) (string, error) {
	r.Version = version
	plain, err := json.Marshal(r)
	return string(box.Seal(nameOf(key, i), plain)), err
}

// maxEntry is the greatest value of an entry that is looked at, in bytes.
const maxEntry = 1 << 20

// errNewer is why a node cannot tell what an entry revokes, although the fleet wrote it.
var errNewer = errors.New("an entry of the stream of revocations was written by a newer version: upgrade this node")

// openRecord returns what an entry says; with errNewer as far as this version knows it,
// which may be nothing.
func openRecord(box *seal.Box, key string, i id, value string) (*record, error) {
	if len(value) > maxEntry {
		return nil, seal.ErrSealed
	}
	plain, err := box.Open(nameOf(key, i), []byte(value))
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(plain, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errNewer, err)
	}
	if r.Version != version || !isKnown(plain) {
		return &r, errNewer
	}
	return &r, nil
}

// isKnown reports whether this version knows all that a record says.
func isKnown(plain []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.DisallowUnknownFields()
	return decoder.Decode(&record{}) == nil
}

// The most that one entry holds, so that no reader waits for one.
const (
	maxEvents = 250
	maxBytes  = 64 << 10
)

// batch is how many of the events fit into one entry: at least one.
func batch(events []revocation.Event) int {
	bytes := 0
	for i, e := range events {
		bytes += len(e.ID) + len(e.Value) + len(e.Issuer) + len(e.Source) + len(e.Reason) + 200
		if i > 0 && (i == maxEvents || bytes > maxBytes) {
			return i
		}
	}
	return len(events)
}
