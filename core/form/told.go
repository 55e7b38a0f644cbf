package form

import "gatehouse/core/httpsyntax"

// Told is an error with what a person reads of it in the place of what goes with the
// status. The gate leads no browser from it to the sign-in, which may be what has failed.
type Told struct {
	Err           error
	Title, Advice string
	// SignIn is where a person can try again, or empty. Header are further lines of the
	// response.
	SignIn string
	Header []httpsyntax.Header
}

func (e *Told) Error() string { return e.Err.Error() }
func (e *Told) Unwrap() error { return e.Err }

// Tell has a person read it.
func (r *Refusal) Tell(t *Told) {
	r.Title, r.Advice, r.Detail, r.SignIn = t.Title, t.Advice, t.Advice, t.SignIn
	r.Repeatable = false // an attempt to sign in counts once
}
