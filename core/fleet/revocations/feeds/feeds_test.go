package feeds

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gatehouse/core/revocation"
)

// told is a list that keeps what it was told.
type told []string

func (*told) Add(...revocation.Event) error { return nil }
func (*told) All() []revocation.Event       { return nil }
func (l *told) Current()                    { *l = append(*l, "current") }
func (l *told) Blind(error)                 { *l = append(*l, "blind") }
func (l *told) Lost(error, time.Duration)   { *l = append(*l, "lost") }

func TestListIsBlindWhileAllFeedsAre(t *testing.T) {
	var got told
	s := &several{Fed: &got}
	table, stream := s.view(), s.view()
	cause := errors.New("away")
	table.Blind(cause)
	stream.Current()
	table.Current()
	stream.Blind(cause) // the table goes on
	stream.Lost(cause, 0)
	table.Blind(cause)
	if want := []string{"blind", "current", "current", "lost", "blind"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNodeWithoutAFeedPublishesNothing(t *testing.T) {
	if err := (Feeds{}).Publish(t.Context(), revocation.Event{Kind: revocation.Subject, Value: "ada"}); err == nil {
		t.Error("it says that a revocation is acknowledged")
	}
}
