package automaton

// Minus returns the texts of a language that are in none of the others.
func (l *Language) Minus(others ...*Language) (*Language, error) {
	var err error
	for _, other := range others {
		if l, err = combine(l, other, func(a, b bool) bool { return a && !b }); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// And returns the texts that both languages hold.
func (l *Language) And(other *Language) (*Language, error) {
	return combine(l, other, func(a, b bool) bool { return a && b })
}

// pair is a state of two automata that run side by side.
type pair struct{ a, b uint32 }

// combine makes the language of the texts that keep accepts. It must accept
// no to every text that is not in a.
func combine(a, b *Language, keep func(inA, inB bool) bool) (*Language, error) {
	letters, err := jointAlphabet([]*Language{a, b})
	if err != nil {
		return nil, err
	}
	result := &Language{alphabet: letters}
	ofA, ofB := a.lettersOf(letters.members), b.lettersOf(letters.members)
	ids := map[pair]uint32{{dead, dead}: dead, {first, first}: first}
	queue := []pair{{dead, dead}, {first, first}}
	for at := 0; at < len(queue); at++ {
		p := queue[at]
		result.accepts = append(result.accepts, keep(a.accepts[p.a], b.accepts[p.b]))
		for i := range letters.members {
			to := pair{a.step(p.a, ofA[i]), b.step(p.b, ofB[i])}
			if to.a == dead { // which is most often so
				result.next = append(result.next, dead)
				continue
			}
			id, known := ids[to]
			if !known {
				id = uint32(len(queue))
				ids[to] = id
				queue = append(queue, to)
			}
			result.next = append(result.next, id)
		}
		if len(queue) > maxStates {
			return nil, ErrTooLarge
		}
	}
	result.trim()
	return result, nil
}
