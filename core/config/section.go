package config

import (
	"reflect"
	"slices"

	"gatehouse/core"
	"gatehouse/core/config/answer"
	"gatehouse/core/config/certificate"
	"gatehouse/core/config/section"
	"gatehouse/core/metadata"
)

// sections are those that are present, in the order of their fields.
func (c *Config) sections() []section.Section {
	sections := fieldsOf[section.Section](c)
	if own := c.Login.Section(); own != nil {
		sections = append(sections, own)
	}
	return sections
}

// certificateSection is a section that takes client certificates as credentials; empty: none
// does.
func (c *Config) certificateSection() string {
	sections := c.sections()
	if i := slices.IndexFunc(sections, certificate.Takes); i >= 0 {
		return string(sections[i].Kind())
	}
	return ""
}

// endpoints are those of all sections.
func (c *Config) endpoints() (endpoints []core.Endpoint, resources metadata.Places, err error) {
	issuers := c.issuers()
	for _, s := range fieldsOf[answer.Endpoints](c) {
		e, r, err := s.Endpoints(issuers, c.DPoP.ProofAlgorithms())
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
		if fields.Field(i).IsZero() {
			continue
		}
		if field, ok := fields.Field(i).Interface().(T); ok {
			present = append(present, field)
		}
	}
	return present
}

// issuers are those whose tokens are accepted, as far as they are known.
func (c *Config) issuers() []string {
	var names []string
	if c.JWT != nil {
		for _, i := range c.JWT.Issuers {
			names = append(names, i.Issuer)
		}
	}
	if c.Introspection != nil && c.Introspection.Issuer != "" {
		names = append(names, c.Introspection.Issuer)
	}
	return names
}
