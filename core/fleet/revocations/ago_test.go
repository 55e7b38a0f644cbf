package revocations

import (
	"testing"
	"time"
)

// Whoever writes to Redis can put back an epoch that began long ago, and a clock can be
// wrong: only a moment that has just passed bounds what was missed.
func TestEpochOfLongAgoDoesNotBoundWhatWasMissed(t *testing.T) {
	now := time.Now()
	f := &follower{now: now, lookedAt: time.Now()}
	for name, c := range map[string]struct {
		since time.Time
		known bool
	}{
		"a moment ago":         {now.Add(-300 * time.Millisecond), true},
		"ten seconds ago":      {now.Add(-10 * time.Second), false},
		"in the future":        {now.Add(time.Hour), false},
		"of an unknown moment": {time.Time{}, false},
	} {
		if got := f.ago(c.since); (got > 0) != c.known || got > 2*pollTime {
			t.Errorf("begun %s: %v", name, got)
		}
	}
}
