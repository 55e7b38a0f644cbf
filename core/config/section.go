package config

import (
	"reflect"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/cache"
	"gatehouse/core/shared"
)

// section is the part of a configuration that accepts one kind of credential (a
// row of core.Kinds). Each is a pointer field of Config under the kind's name.
type section interface {
	kind() core.Kind
	// places are where its credentials may sit, beside the places of bearer
	// tokens.
	places() []core.Place
	// judgesBearer reports whether a bearer token can be such a credential.
	judgesBearer() bool
	// check reports what no single tag can say.
	check(v validator)
	// build finds or makes the authenticator.
	build(b *Builder, limits Cache) (*part, error)
	// refused returns why the authenticator cannot be made of these settings; no
	// file is read and no secret is resolved.
	refused() error
	// principal reads whom a verified document speaks of, without any call.
	principal(b *Builder, document map[string]any, typ string) (*core.Principal, error)
}

// sections are those that are present, in the order of their fields.
func (c *Config) sections() []section {
	return fieldsOf[section](c)
}

// endpointSection is the part of a configuration that has the gate answer
// requests itself. Each is a field of Config.
type endpointSection interface {
	// checkEndpoints reports what no single tag can say.
	checkEndpoints(v validator)
	// endpoints are those, and the resources that challenges name.
	endpoints(c *Config) ([]core.Endpoint, []core.Resource, error)
}

// endpoints are those of all sections.
func (c *Config) endpoints() (endpoints []core.Endpoint, resources []core.Resource, err error) {
	for _, s := range fieldsOf[endpointSection](c) {
		e, r, err := s.endpoints(c)
		if err != nil {
			return nil, nil, err
		}
		endpoints, resources = append(endpoints, e...), append(resources, r...)
	}
	return endpoints, resources, nil
}

// fieldsOf are the fields of a configuration that are set and of an interface, in
// their order.
func fieldsOf[T any](c *Config) []T {
	var present []T
	fields := reflect.ValueOf(c).Elem()
	for i := range fields.NumField() {
		if field, ok := fields.Field(i).Interface().(T); ok && !fields.Field(i).IsZero() {
			present = append(present, field)
		}
	}
	return present
}

// part is the authenticator of a section behind its cache. Gates whose sections
// have the same content share it.
type part struct {
	*cache.Memo
	kind  core.Kind
	key   shared.Key
	route authn.Route // without By, which is the part
	order int
	// waiting names the issuers whose keys are not loaded; nil: there are none.
	waiting func() []string
}

// The order in which routes are asked, see part.order: a session token has a
// prefix of its own; introspection accepts every token that no other route does,
// or every JWT before it is verified locally.
const (
	sessionsFirst = iota
	introspectionNext
	jwtsNext
	introspectionLast
)
