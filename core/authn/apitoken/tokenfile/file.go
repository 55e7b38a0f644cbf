// Package tokenfile keeps API tokens and their owners in a file: the file of few tokens,
// for a node of its own or for nodes that get the file from elsewhere.
package tokenfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/setting"
)

// version is that of the files that are read and written.
const version = 1

// maxSize is that of a file, in bytes. More tokens belong into PostgreSQL.
const maxSize = 16 << 20

// File is what a token file says.
type File struct {
	Owners map[apitoken.Owner]Grants // users and service accounts
	Tokens []*apitoken.Record

	ownerOrder []apitoken.Owner
}

// Grants are those of an owner.
type Grants struct {
	apitoken.Grants
	// Suspended says that none of the owner's tokens counts.
	Suspended bool
}

// document is the file as it is written.
type document struct {
	Version         int       `yaml:"version" json:"version"`
	Users           []user    `yaml:"users,omitempty" json:"users,omitempty"`
	ServiceAccounts []account `yaml:"service_accounts,omitempty" json:"service_accounts,omitempty"`
	Tokens          []token   `yaml:"tokens,omitempty" json:"tokens,omitempty"`
}

type user struct {
	Subject string `yaml:"subject" json:"subject"`
	Issuer  string `yaml:"issuer,omitempty" json:"issuer,omitempty"`
	grants  `yaml:",inline"`
}

type account struct {
	Name   string `yaml:"name" json:"name"`
	grants `yaml:",inline"`
}

type grants struct {
	names     `yaml:",inline"`
	Suspended bool `yaml:"suspended,omitempty" json:"suspended,omitempty"`
}

type names struct {
	Roles       []string `yaml:"roles,omitempty" json:"roles,omitempty"`
	Permissions []string `yaml:"permissions,omitempty" json:"permissions,omitempty"`
	Scopes      []string `yaml:"scopes,omitempty" json:"scopes,omitempty"`
}

type token struct {
	ID             string `yaml:"id" json:"id"`
	Digest         string `yaml:"digest" json:"digest"`
	Name           string `yaml:"name,omitempty" json:"name,omitempty"`
	Subject        string `yaml:"subject,omitempty" json:"subject,omitempty"`
	Issuer         string `yaml:"issuer,omitempty" json:"issuer,omitempty"`
	ServiceAccount string `yaml:"service_account,omitempty" json:"service_account,omitempty"`
	names          `yaml:",inline"`
	Networks       []string  `yaml:"networks,omitempty" json:"networks,omitempty"`
	Hosts          []string  `yaml:"hosts,omitempty" json:"hosts,omitempty"`
	Created        time.Time `yaml:"created" json:"created"`
	CreatedBy      string    `yaml:"created_by,omitempty" json:"created_by,omitempty"`
	Expires        time.Time `yaml:"expires,omitempty" json:"expires,omitzero"`
	Revoked        time.Time `yaml:"revoked,omitempty" json:"revoked,omitzero"`
}

// Read reads a file: all of it or nothing. The error names every problem, and no value
// that could be a secret.
func Read(path string) (*File, error) {
	text, err := setting.ReadBounded(path, maxSize)
	if err != nil {
		return nil, err
	}
	f, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func parse(text []byte) (*File, error) {
	if regexp.MustCompile(apitoken.Pattern).Match(text) {
		return nil, errors.New("holds an API token; only digests may be in it. Revoke that token, and make another with gatehouse token create")
	}
	if err := checkVersion(text); err != nil {
		return nil, err
	}
	var d document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return nil, withoutValues(err)
	}
	if err := decoder.Decode(new(document)); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one document")
	}
	if err := noHollow(text); err != nil {
		return nil, err
	}
	return d.file()
}

// checkVersion comes first: a newer file has fields that are not known here.
func checkVersion(text []byte) error {
	var v struct {
		Version *int `yaml:"version"`
	}
	if err := yaml.Unmarshal(text, &v); err != nil {
		return withoutValues(err)
	}
	switch {
	case v.Version == nil:
		return fmt.Errorf("version is needed: write version: %d", version)
	case *v.Version > version:
		return fmt.Errorf("was written by a newer version of Gatehouse (version %d, this one reads %d): update this node", *v.Version, version)
	case *v.Version < 1:
		return fmt.Errorf("version is %d; write version: %d", *v.Version, version)
	}
	return nil
}

var quoted = regexp.MustCompile("`[^`]*`?")

// withoutValues leaves the line numbers of a parser's error.
func withoutValues(err error) error {
	return errors.New(quoted.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "the value"))
}

// noHollow refuses lists that are empty and keys without a value: nobody can tell
// whether they mean none or any.
func noHollow(text []byte) error {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return withoutValues(err)
	}
	var problems []error
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, inner := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 1 {
				name := n.Content[i-1]
				switch {
				case inner.Tag == "!!null":
					problems = append(problems, fmt.Errorf("line %d: %s has no value; leave it out, or give it one", name.Line, setting.ShownKey(name.Value)))
				case inner.Kind == yaml.SequenceNode && len(inner.Content) == 0 && (name.Value == "networks" || name.Value == "hosts"):
					problems = append(problems, fmt.Errorf("line %d: %s is empty, which could mean none or any; leave it out for any", name.Line, name.Value))
				}
			}
			walk(inner)
		}
	}
	walk(&root)
	return errors.Join(problems...)
}

func (d document) file() (*File, error) {
	f := &File{Owners: map[apitoken.Owner]Grants{}}
	var problems []error
	own := func(where string, o apitoken.Owner, g grants) {
		if _, twice := f.Owners[o]; twice {
			problems = append(problems, fmt.Errorf("%s: %s is there twice", where, o))
		}
		granted := apitoken.Grants(g.names)
		if err := granted.Check(); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", where, err))
		}
		f.put(o, Grants{granted, g.Suspended})
	}
	for i, u := range d.Users {
		where := fmt.Sprintf("users[%d]", i)
		if u.Subject == "" {
			problems = append(problems, fmt.Errorf("%s: subject is needed", where))
		}
		own(where, apitoken.Owner{Subject: u.Subject, Issuer: u.Issuer}, u.grants)
	}
	for i, a := range d.ServiceAccounts {
		where := fmt.Sprintf("service_accounts[%d]", i)
		if err := apitoken.CheckAccountName(a.Name); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", where, err))
		}
		own(where, apitoken.Owner{ServiceAccount: a.Name}, a.grants)
	}
	ids, digests := map[string]int{}, map[apitoken.Digest]int{}
	for i, t := range d.Tokens {
		where := fmt.Sprintf("tokens[%d]", i)
		r, err := t.record()
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", where, err))
			continue
		}
		if first, twice := ids[r.ID]; twice {
			problems = append(problems, fmt.Errorf("%s: id %s is that of tokens[%d], too", where, r.ID, first))
		}
		if first, twice := digests[r.Digest]; twice {
			problems = append(problems, fmt.Errorf("%s: digest is that of tokens[%d], too: one token has one record", where, first))
		}
		ids[r.ID], digests[r.Digest] = i, i
		f.Tokens = append(f.Tokens, r)
	}
	return f, errors.Join(problems...)
}

func (f *File) put(o apitoken.Owner, g Grants) {
	if _, known := f.Owners[o]; !known {
		f.ownerOrder = append(f.ownerOrder, o)
	}
	f.Owners[o] = g
}

func (t token) record() (*apitoken.Record, error) {
	r := &apitoken.Record{
		ID: t.ID, Name: t.Name, Owner: apitoken.Owner{Subject: t.Subject, Issuer: t.Issuer, ServiceAccount: t.ServiceAccount},
		Grants: apitoken.Grants(t.names), Hosts: t.Hosts, Created: t.Created, CreatedBy: t.CreatedBy, Expires: t.Expires, Revoked: t.Revoked,
	}
	var err error
	r.Digest, _ = apitoken.ParseDigest(t.Digest)
	if r.Networks, err = apitoken.ParseNetworks(t.Networks); err != nil {
		r.Networks = nil // said once
	}
	return r, errors.Join(err, r.Check())
}

// text is the file as it is written: JSON where the name says so.
func (f *File) text(path string) ([]byte, error) {
	d := document{Version: version}
	for _, o := range f.ownerOrder {
		g := grants{names(f.Owners[o].Grants), f.Owners[o].Suspended}
		if o.ServiceAccount != "" {
			d.ServiceAccounts = append(d.ServiceAccounts, account{o.ServiceAccount, g})
		} else {
			d.Users = append(d.Users, user{o.Subject, o.Issuer, g})
		}
	}
	for _, r := range f.Tokens {
		d.Tokens = append(d.Tokens, entry(r))
	}
	if strings.HasSuffix(path, ".json") {
		text, err := json.MarshalIndent(d, "", "  ")
		return append(text, '\n'), err
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	err := encoder.Encode(d)
	return b.Bytes(), errors.Join(err, encoder.Close())
}

func entry(r *apitoken.Record) token {
	return token{
		ID: r.ID, Digest: r.Digest.String(), Name: r.Name, Subject: r.Owner.Subject, Issuer: r.Owner.Issuer, ServiceAccount: r.Owner.ServiceAccount,
		names: names(r.Grants), Networks: texts(r.Networks), Hosts: r.Hosts, Created: r.Created, CreatedBy: r.CreatedBy, Expires: r.Expires, Revoked: r.Revoked,
	}
}

func texts(networks []netip.Prefix) []string {
	var all []string
	for _, n := range networks {
		all = append(all, n.String())
	}
	return all
}
