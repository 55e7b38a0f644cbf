package follow

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// Options of a Value.
type Options[T any] struct {
	// Make makes the value, and lists the files that it has read or needs, also with
	// an error. Values of equal content are the same pointer. One goroutine calls it.
	Make func() (value *T, files []string, err error)
	// OnChange is called for another value, and for another error; kept tells that a
	// value from before stays in use.
	OnChange func(err error, kept bool)
	// Interval is how often the files are looked at.
	Interval time.Duration
	Now      func() time.Time
}

// Value is made of files, and made again when they change: as a whole or not at all.
// While that fails, the last good value stays in use.
type Value[T any] struct{ *follower[T] }

// follower has no reference to its Value, so that one which nobody uses can end.
type follower[T any] struct {
	options Options[T]
	files   *Files
	paths   []string
	looks   int

	state atomic.Pointer[State[T]]
}

// State is that of a Value.
type State[T any] struct {
	Value *T // nil while none has been made
	// At is when the value was made.
	At time.Time
	// Err is why the files are not in use as they are now, and Since when that began.
	Err   error
	Since time.Time
	// Files are what is followed.
	Files []string
}

// Open makes a value, and follows its files until nobody has the Value any more.
func Open[T any](o Options[T]) *Value[T] {
	f := &follower[T]{options: o}
	f.state.Store(&State[T]{})
	f.load()
	v := &Value[T]{f}
	if len(f.paths) > 0 {
		ctx, stop := context.WithCancel(context.Background())
		go Every(ctx, o.Interval, f.look)
		runtime.AddCleanup(v, func(stop context.CancelFunc) { stop() }, stop)
	}
	return v
}

// State is the state now.
func (f *follower[T]) State() State[T] { return *f.state.Load() }

// retryLooks is after how many looks what failed is tried again although no file has
// changed: reading can fail for a reason that no file shows.
const retryLooks = 30

func (f *follower[T]) look() {
	f.looks++
	failed := f.state.Load().Err != nil
	if f.files.Changed() || failed && f.looks%retryLooks == 0 {
		f.load()
	}
}

// errMoving is why there is no value yet where the files changed while they were read.
var errMoving = errors.New("its files changed while they were read; they are read again")

// load makes the value of the files as they are. What was made of a change that goes
// on is not used.
func (f *follower[T]) load() {
	var value *T
	var paths []string
	var err error
	read := func() { value, paths, err = f.make() }
	complete := true
	if f.files == nil {
		read()
	} else {
		complete = f.files.Read(read)
	}
	if slices.Sort(paths); !slices.Equal(paths, f.paths) || f.files == nil {
		f.paths, f.files = paths, New(paths...) // which reports them as changed once they stand still
	}
	switch {
	case complete:
		f.take(value, err)
	case f.state.Load().Value == nil && f.state.Load().Err == nil:
		f.take(nil, errMoving)
	}
}

// make is Make without its panics, which would end the process.
func (f *follower[T]) make() (value *T, files []string, err error) {
	files = f.paths
	defer func() {
		if v := recover(); v != nil {
			value, err = nil, fmt.Errorf("panic while it was made (%T)", v)
		}
	}()
	return f.options.Make()
}

// take puts a value in use, or notes why there is no other.
func (f *follower[T]) take(value *T, err error) {
	before := f.state.Load()
	now := State[T]{Value: before.Value, At: before.At, Files: f.paths, Err: err}
	changed := false
	switch {
	case err == nil:
		changed = value != before.Value || before.Err != nil
		if now.Value = value; changed {
			now.At = f.options.Now()
		}
	case before.Err != nil:
		now.Since, changed = before.Since, before.Err.Error() != err.Error()
	default:
		now.Since, changed = f.options.Now(), true
	}
	f.state.Store(&now)
	if changed && f.options.OnChange != nil {
		f.options.OnChange(err, now.Value != nil)
	}
}
