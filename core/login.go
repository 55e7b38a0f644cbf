package core

// Login is where browsers without a valid session are sent.
type Login interface {
	// Location returns where to send the client of a request that was refused
	// with 401 for err. ok is false where that would not help: the client is no
	// browser that asks for a page.
	Location(r *Request, err error) (location string, ok bool)
}
