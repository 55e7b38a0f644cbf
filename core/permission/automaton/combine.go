package automaton

// Minus returns the texts of a language that are in none of the others.
func (l *Language) Minus(others ...*Language) (*Language, error) {
	for _, other := range others {
		var err error
		if l, err = minus(l, other); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// minus runs both automata side by side: a state of the result is a pair.
func minus(a, b *Language) (*Language, error) {
	letters, err := jointAlphabet([]*Language{a, b})
	if err != nil {
		return nil, err
	}
	type pair struct{ a, b uint32 }
	result := &Language{alphabet: letters}
	ids := map[pair]uint32{{dead, dead}: dead, {first, first}: first}
	queue := []pair{{dead, dead}, {first, first}}
	for at := 0; at < len(queue); at++ {
		p := queue[at]
		result.accepts = append(result.accepts, a.accepts[p.a] && !b.accepts[p.b])
		for _, r := range letters.members {
			to := pair{a.step(p.a, a.alphabet.letter(r)), b.step(p.b, b.alphabet.letter(r))}
			if to.a == dead {
				to.b = dead
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
