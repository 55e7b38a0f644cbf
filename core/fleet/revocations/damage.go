package revocations

import (
	"fmt"
	"time"
)

// damage is how a stream shows that events may have been missed.
type damage struct {
	// reason is one of a few words, for metrics; text is for people.
	reason, text string
	// whole says that the stream itself holds together: it is another than before.
	whole bool
	// since is when the epoch began with which it was found, by the clock of Redis; zero:
	// nobody knows. What was published since then is in the stream.
	since time.Time
}

func (d *damage) Error() string { return "the stream of revocations in Redis " + d.text }

func damaged(reason, format string, args ...any) *damage {
	return &damage{reason: reason, text: fmt.Sprintf(format, args...)}
}

func another(reason, format string, args ...any) *damage {
	d := damaged(reason, format, args...)
	d.whole = true
	return d
}

// gone is the reason of a stream that is not there.
const gone = "gone"

func trimmed(first, oldest uint64) *damage {
	return damaged("trimmed", "begins with entry %d, and those from %d on still count: somebody has trimmed it", first, oldest)
}

func unopened(i id) *damage {
	return damaged("unopened", "has an entry at %s that does not open: it was written with another secret, or by somebody else", i)
}

// whole returns a damage that the ids alone show.
func (l *state) whole() *damage {
	switch {
	case l.length < 0:
		return damaged("type", "is no stream: somebody has written another value under its key")
	case l.length == 0:
		return damaged(gone, "is gone: Redis was flushed or restarted empty, has evicted it, or somebody has deleted it")
	case l.generated != l.last:
		return damaged("removed", "ends at %s, and has had %s: somebody has removed its end", l.last, l.generated)
	case l.first.epoch != l.last.epoch || l.length != int64(l.last.number-l.first.number)+1:
		return damaged("removed", "has %d entries from %s to %s: some are missing, or too many", l.length, l.first, l.last)
	}
	return nil
}

// since returns a damage that shows when the stream is compared with what was its end.
func (l *state) since(t *tip) *damage {
	switch {
	case t == nil:
		return nil
	case l.last.epoch != t.id.epoch:
		return another("epoch", "is another one: it begins with %s, and was at %s", l.first, t.id)
	case l.last.number < t.id.number:
		return another("back", "went back from %s to %s: a replica without the last entries has become the master, or an old state was restored", t.id, l.last)
	case l.last == t.id && l.sum != t.sum:
		return another("changed", "has another entry at %s than before", t.id)
	case l.last == t.id && l.first.number > t.oldest:
		return trimmed(l.first.number, t.oldest)
	}
	return nil
}
