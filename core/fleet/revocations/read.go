package revocations

import (
	"context"
	"fmt"

	"gatehouse/core/revocation"
)

// Events reads those that the stream holds and that are in force. It changes nothing.
// With an error the events are those that could be read.
func (s *Stream) Events(ctx context.Context) ([]revocation.Event, error) {
	l, err := s.look(ctx, "")
	switch {
	case err != nil:
		return nil, err
	case l.length == 0:
		return nil, fmt.Errorf("%w (%s)", ErrNoStream, s.key)
	}
	if broken := l.whole(); broken != nil {
		return nil, broken
	}
	r := revocation.NewReader()
	f := &follower{Stream: s, list: r}
	err = f.readOn(ctx)
	return r.Events(err)
}
