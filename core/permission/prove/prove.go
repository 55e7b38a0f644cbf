// Package prove answers whether a permission table has a property: whether everybody
// who passes some calls has what the property says. It decides for all requests and all
// callers. An answer is proven, or shown wrong by a call and a caller that the table lets
// pass, or unknown, with the reason. What it does not know it never takes as proven.
package prove

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gatehouse/core/permission"
	"gatehouse/core/permission/passing"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
)

// Property says what everybody has who passes a call.
type Property struct {
	Place report.Place
	Why   string
	// Calls are those that the property is about, but for those of Except.
	Calls, Except []permission.Activity
	Need          Need
}

// Need is what a caller must have: all that is set. A caller without a credential meets
// the zero value, and no need that asks something of a credential.
type Need struct {
	// Nobody is what no caller has.
	Nobody bool
	// Credential is any that is valid.
	Credential        bool
	AllRoles, AnyRole []string
	// Permissions are held by the rules of the table.
	Permissions []string
	Require     require.Requirements
}

// Result is what became of a property.
type Result string

// The results.
const (
	Proven  Result = "proven"
	Refuted Result = "refuted"
	Unknown Result = "unknown"
)

// Verdict is the answer about one property.
type Verdict struct {
	*Property
	Result Result
	// Witness shows that a property does not hold.
	Witness *Witness
	// Reason is why the answer is unknown.
	Reason string
}

// What package passing tells of.
type (
	Witness = passing.Witness
	Version = passing.Version
	Options = passing.Options
)

// Run answers properties about a table in files. When the context ends, what is not
// answered is unknown.
func Run(ctx context.Context, t *permission.Table, files []*permission.File, properties []Property, o Options) ([]Verdict, error) {
	verdicts := make([]Verdict, len(properties))
	for i := range properties {
		verdicts[i] = Verdict{Property: &properties[i], Result: Unknown, Reason: unknownPart(files)}
	}
	if len(properties) == 0 || verdicts[0].Reason != "" {
		return verdicts, nil
	}
	p, err := newProver(ctx, Version{Table: t, Files: files}, nil, o)
	if err != nil {
		return nil, err
	}
	return verdicts, p.run(verdicts, properties)
}

// everything are all calls.
var everything = []permission.Activity{{Methods: []string{permission.AnyMethod}, Path: "/(?s:.*)"}}

// Within answers whether each call that a caller passes by one table passes by another one,
// too. Its witness is a call with a caller for which that is not so.
func Within(ctx context.Context, table, other Version, o Options) (*Verdict, error) {
	property := []Property{{Calls: everything}}
	v := &Verdict{Property: &property[0], Result: Unknown, Reason: cmp.Or(unknownPart(table.Files), unknownPart(other.Files))}
	if v.Reason != "" {
		return v, nil
	}
	p, err := newProver(ctx, table, &other, o)
	if err != nil {
		return nil, err
	}
	verdicts := []Verdict{*v}
	err = p.run(verdicts, property)
	return &verdicts[0], err
}

func (p *prover) run(verdicts []Verdict, properties []Property) error {
	if err := p.regions(properties); err != nil {
		return err
	}
	if err := p.walk(); err != nil {
		return err
	}
	for i := range verdicts {
		if err := p.answer(&verdicts[i], i); err != nil {
			return err
		}
	}
	return nil
}

// knownParts are the fields of a file that say nothing here, or that grants and
// activities of the compiled table are made of.
var knownParts = []string{"Name", "Permissions", "Roles", "Scopes", "Subjects", "Authenticated", "Optional", "Public", "Anonymous", "ImplicitScopes", "PathVariants", "Actors", "ActorChain"}

// unknownPart names a part of a table that this package does not know.
func unknownPart(files []*permission.File) string {
	for _, f := range files {
		v := reflect.ValueOf(*f)
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; !v.Field(i).IsZero() && !slices.Contains(knownParts, name) {
				return fmt.Sprintf("the table has %s, about which nothing can be proven yet", strings.ToLower(name))
			}
		}
	}
	return ""
}
