package revocation

// Keep is what Run does each second.
func (l *List) Keep() { l.keep() }
