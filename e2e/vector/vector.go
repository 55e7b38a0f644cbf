package vector

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Vector is one request with what must come of it.
type Vector struct {
	// Source is the file and line, for messages.
	Source string
	Name   string
	// Attack says that the request is an attempt to get what the client may
	// not have.
	Attack bool
	// Why the decision must be so.
	Why   string
	Class Class
	// Overrides are the classes of hosts that cannot come to the decision,
	// because the gateway responds by itself or hides what it depends on.
	Overrides map[string]Override
	// Upstream is the upstream's name, the method and the target that it must
	// receive; UpstreamOn has what differs by host.
	Upstream   string
	UpstreamOn map[string]string
	// As names the identity that the upstream must see.
	As string
	// Forwards are header lines that the upstream must receive exactly once;
	// Withholds are names of headers that it must not receive in any spelling.
	Forwards, Withholds []string
	// Location is where the browser must be sent.
	Location string
	// Challenge is a part of the WWW-Authenticate header.
	Challenge string
	// Status, Header and JSON are the response of an endpoint of the gate: JSON is
	// the whole document, so that the gate says nothing that was not configured.
	// Header lines may also be those of a refusal.
	Status int
	Header []string
	JSON   string
	// Again is the class of the same request when it comes once more; empty: it does not.
	Again Class
	// Form is that of a refusal, one of forms; empty for a problem document.
	Form string
	// Request is the request, before placeholders and escapes are replaced.
	Request string
}

// Override is the class on one host, and why it must differ there.
type Override struct {
	Class  Class
	Reason string
}

// ClassOn is the class that a host must come to.
func (v *Vector) ClassOn(host string) Class {
	if o, ok := v.Overrides[host]; ok {
		return o.Class
	}
	return v.Class
}

// Second is what the same request must meet when it comes once more; nil: it does not.
func (v *Vector) Second() *Vector {
	if v.Again == "" {
		return nil
	}
	return &Vector{Source: v.Source, Name: v.Name + ", once more", Attack: true, Why: v.Why, Class: v.Again, Request: v.Request}
}

// Hosts that overrides may name.
var Hosts = []string{"core", "kong", "apisix"}

// StandIns are the gateways' Lua files in stand-ins. No override names them: see
// [Vector.RefusedByNGINX].
var StandIns = []string{"kong-lua", "apisix-lua"}

// RefusedByNGINX reports whether a response is a refusal of the nginx in which a
// gateway's Lua file runs, of a request that is not admitted by a gateway, either.
func (v *Vector) RefusedByNGINX(a Response) bool {
	_, byGateway := strings.CutPrefix(string(a.Class()), "gateway 4")
	return byGateway && (v.Class != Allow || v.ClassOn("kong") != Allow)
}

// Identity is what an upstream must learn of a caller: header lines, before
// placeholders are replaced.
type Identity []string

// Suite is all vectors with the identities that they refer to.
type Suite struct {
	Vectors    []*Vector
	Identities map[string]Identity
}

// identitiesFile holds the identities; every other .txt file holds vectors.
const identitiesFile = "identities.txt"

// Load reads the files of a folder. Every problem is reported with its place.
func Load(dir fs.FS) (*Suite, error) {
	names, err := fs.Glob(dir, "*.txt")
	if err != nil {
		return nil, err
	}
	s := &Suite{Identities: map[string]Identity{}}
	var problems []error
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		for _, b := range blocks(name, text) {
			problems = append(problems, s.add(name, b))
		}
	}
	problems = append(problems, s.check())
	return s, errors.Join(problems...)
}

func (s *Suite) add(file string, b block) error {
	if file == identitiesFile {
		s.Identities[b.title] = slices.DeleteFunc(b.lines, func(l string) bool { return l == "" || l[0] == '#' })
		return nil
	}
	v, err := parse(b)
	if err != nil {
		return fmt.Errorf("%s: %w", b.source, err)
	}
	s.Vectors = append(s.Vectors, v)
	return nil
}

func (s *Suite) check() error {
	var problems []error
	seen := map[string]string{}
	for _, v := range s.Vectors {
		if other, twice := seen[v.Name]; twice {
			problems = append(problems, fmt.Errorf("%s: the name %q is taken by %s", v.Source, v.Name, other))
		}
		seen[v.Name] = v.Source
		if _, known := s.Identities[v.As]; v.As != "" && !known {
			problems = append(problems, fmt.Errorf("%s: %s has no identity %q", v.Source, identitiesFile, v.As))
		}
	}
	return errors.Join(problems...)
}

// IdentityHeaders are the names that carry an identity in any of the
// identities, sorted.
func (s *Suite) IdentityHeaders() []string {
	var names []string
	for _, identity := range s.Identities {
		for _, line := range identity {
			name, _, _ := strings.Cut(line, ":")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// block is what follows one "=== title" line.
type block struct {
	source, title string
	lines         []string
}

// blocks splits a file. What stands before the first title is a comment.
func blocks(file string, text []byte) []block {
	var all []block
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		if title, ok := strings.CutPrefix(lines.Text(), "=== "); ok {
			all = append(all, block{source: fmt.Sprintf("%s:%d", file, n), title: title})
		} else if len(all) > 0 {
			last := &all[len(all)-1]
			last.lines = append(last.lines, lines.Text())
		}
	}
	return all
}

// parse reads a vector: comments and "key: value" lines, an empty line, and
// the request.
func parse(b block) (*Vector, error) {
	v := &Vector{Source: b.source, Overrides: map[string]Override{}, UpstreamOn: map[string]string{}}
	kind, name, ok := strings.Cut(b.title, ": ")
	if !ok || kind != "attack" && kind != "case" {
		return nil, fmt.Errorf(`the title must be "attack: NAME" or "case: NAME"`)
	}
	v.Name, v.Attack = name, kind == "attack"
	end := slices.Index(b.lines, "")
	if end < 0 {
		return nil, errors.New("there is no empty line before the request")
	}
	for _, line := range b.lines[:end] {
		if err := v.set(line); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	v.Request = strings.TrimRight(strings.Join(b.lines[end+1:], "\n"), "\n")
	return v, v.validate()
}

func (v *Vector) set(line string) (err error) {
	if comment, ok := strings.CutPrefix(line, "#"); ok {
		v.Why = strings.TrimSpace(v.Why + " " + strings.TrimSpace(comment))
		return nil
	}
	key, value, ok := strings.Cut(line, ": ")
	if !ok {
		return errors.New(`is neither a comment nor "KEY: VALUE"`)
	}
	if host, found := strings.CutPrefix(key, "upstream."); found && slices.Contains(Hosts, host) {
		v.UpstreamOn[host] = value
		return nil
	}
	if slices.Contains(Hosts, key) {
		return v.override(key, value)
	}
	switch key {
	case "class":
		v.Class, err = parseClass(value)
	case "upstream":
		v.Upstream = value
	case "as":
		v.As = value
	case "forwards":
		v.Forwards = append(v.Forwards, value)
	case "withholds":
		v.Withholds = append(v.Withholds, value)
	case "location":
		v.Location = value
	case "challenge":
		v.Challenge = value
	case "status":
		v.Status, err = strconv.Atoi(value)
	case "header":
		v.Header = append(v.Header, value)
	case "json":
		v.JSON = value
	case "again":
		v.Again, err = parseClass(value)
	case "form":
		if v.Form = value; !slices.Contains(forms, value) {
			err = fmt.Errorf("is none of %s", strings.Join(forms, ", "))
		}
	default:
		err = errors.New("is no key")
	}
	return err
}

// override reads "CLASS, REASON".
func (v *Vector) override(host, value string) error {
	text, reason, _ := strings.Cut(value, ", ")
	class, err := parseClass(text)
	if err != nil {
		return err
	}
	if reason == "" {
		return errors.New(`needs a reason: "CLASS, REASON"`)
	}
	v.Overrides[host] = Override{class, reason}
	return nil
}

func (v *Vector) validate() error {
	switch {
	case v.Why == "":
		return errors.New("needs a comment that says why")
	case v.Class == "":
		return errors.New("needs a class")
	case v.Request == "":
		return errors.New("has no request")
	case (v.Class == Allow) != (v.Upstream != "" && v.As != ""):
		return errors.New("upstream and as go with the class allow, and only with it")
	case v.Again == Allow || v.Again == Endpoint || v.Again == Login:
		return errors.New("again is the class of a refusal")
	case (v.Class == Login) != (v.Location != ""):
		return errors.New("location goes with the class login, and only with it")
	case (v.Class == Endpoint) != (v.Status != 0) || v.Class != Endpoint && v.JSON != "":
		return errors.New("status and json go with the class endpoint, and only with it")
	}
	for host, o := range v.Overrides {
		if o.Class == v.Class {
			return fmt.Errorf("%s overrides the class with itself", host)
		}
		// A host may have to refuse what others admit. The other way round
		// would be the hole that these tests are for.
		if o.Class == Allow || o.Class == Endpoint {
			return fmt.Errorf("%s may not admit what the others refuse", host)
		}
	}
	return nil
}
