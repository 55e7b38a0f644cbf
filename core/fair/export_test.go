package fair

// Parties is how many parties and flows there is a record of.
func (s *Slots) Parties() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tallies) + len(s.flows)
}
