package revocation

// Fed is a List as a feed fills it, such as a stream that all nodes read.
type Fed interface {
	// Add keeps events, all or none of them.
	Add(events ...Event) error
	// All are the events in force.
	All() []Event
	// Current says that the list holds all that was published until now, Blind that new
	// events do not come, and Lost that some may have been missed.
	Current()
	Blind(cause error)
	Lost(cause error)
}

var _ Fed = (*List)(nil)
