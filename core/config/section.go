package config

import (
	"reflect"

	"gatehouse/core"
	"gatehouse/core/config/section"
)

// sections are those that are present, in the order of their fields.
func (c *Config) sections() []section.Section {
	return fieldsOf[section.Section](c)
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
