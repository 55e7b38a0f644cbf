package core

// Answers has the last word on what the gate itself answers a client, refusals and
// endpoints alike: pages of the operator's, and what scripts of other origins may
// read.
type Answers interface {
	// Finish changes a decision that is no admission. It makes none of it, and no
	// refusal with a status below 300: the gate would ignore what it did.
	Finish(r *Request, d *Decision)
}

// finish keeps a decision as it was if what became of it could let a request pass.
func (g *Gate) finish(r *Request, d *Decision) {
	if g.options.Answers == nil || d.Outcome == Allow {
		return
	}
	finished := *d
	g.options.Answers.Finish(r, &finished)
	admits := finished.Outcome == Allow || finished.Outcome == Deny && finished.Status < 300
	if !admits && checkResponseHeader(finished.Header) == nil {
		*d = finished
	}
}
