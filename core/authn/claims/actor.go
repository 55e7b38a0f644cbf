package claims

import (
	"cmp"
	"errors"
	"fmt"

	"gatehouse/core"
	"gatehouse/core/actor"
)

const (
	// maxActors is how many parties a chain of delegation names at most.
	maxActors = 8
	// maxActorText is how long each part of the name of an actor is at most, in bytes.
	maxActorText = 1024
)

// Actor returns who acts for the subject of a credential of an issuer, with those who acted
// before (RFC 8693 section 4.1); nil where nobody does. An actor without an issuer is of
// that of the credential. One that cannot be read is an error: the token would pass for one
// that was not delegated.
func (s Set) Actor(issuer string) (*core.Actor, error) {
	if s["act"] == nil {
		return nil, nil
	}
	return readActor(s["act"], issuer, maxActors)
}

func readActor(act any, issuer string, left int) (*core.Actor, error) {
	members, isObject := act.(map[string]any)
	switch {
	case left == 0:
		return nil, fmt.Errorf("act names more than %d actors, one in the other", maxActors)
	case !isObject:
		return nil, errors.New("act is not an object (RFC 8693 section 4.1)")
	}
	var a core.Actor
	for name, to := range map[string]*string{"sub": &a.Subject, "iss": &a.Issuer, "client_id": &a.ClientID} {
		var err error
		if *to, err = Set(members).Text(name); err != nil {
			return nil, fmt.Errorf("act: %w", err)
		}
		if len(*to) > maxActorText {
			return nil, fmt.Errorf("act: %s is longer than %d bytes", name, maxActorText)
		}
	}
	if a.Subject == "" && a.ClientID == "" {
		return nil, errors.New("act names no actor: it has neither a sub nor a client_id")
	}
	a.Issuer = cmp.Or(a.Issuer, issuer)
	if err := actor.CheckIssuer(a.Issuer); a.Issuer != "" && err != nil {
		return nil, fmt.Errorf("act %w", err)
	}
	if members["act"] == nil {
		return &a, nil
	}
	var err error
	a.Before, err = readActor(members["act"], issuer, left-1)
	return &a, err
}
