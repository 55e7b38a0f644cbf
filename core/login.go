package core

// Login is where browsers without a valid session are sent.
type Login interface {
	// Location returns where the client of a request that was refused with 401 for
	// err signs in. ok is false where to send it there would not help, since it is no
	// browser that asks for a page; the location then leads back to no page.
	Location(r *Request, err error) (location string, ok bool)
}
