package revoke

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/attempts"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/config/section"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/backchannel"
	"gatehouse/core/revocation/receive"
	"gatehouse/core/revocation/signals"
	"gatehouse/core/revocation/webhook"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Options are what endpoints are built with.
type Options struct {
	// Log gets a line for every event.
	Log *slog.Logger
	// Calls is called after every fetch of keys.
	Calls func(provider string, took time.Duration, err error)
	// Now is the clock.
	Now func() time.Time
}

// Builder makes endpoints, each once per content.
type Builder struct {
	options  Options
	built    shared.Values[built]
	counters receive.Counters
}

// NewBuilder makes a builder.
func NewBuilder(o Options) *Builder { return &Builder{options: o} }

// Counts are the messages so far.
func (b *Builder) Counts() map[receive.Counted]uint64 { return b.counters.Counts() }

// built are the endpoints of a section.
type built struct{ endpoints []core.Endpoint }

// kept keeps what was built of a section for as long as a gate uses an endpoint of it.
type kept struct {
	core.EndpointHandler
	*built
}

// Build finds or makes the endpoints of a section, which publish what they take; its
// key identifies the publisher.
func (b *Builder) Build(e *Endpoints, publisher revocation.Publisher, publisherKey shared.Key) ([]core.Endpoint, shared.Key, error) {
	resolved, err := e.resolve()
	if err != nil {
		return nil, shared.Key{}, err
	}
	key := shared.KeyOf(e, resolved.secrets, resolved.trust, resolved.keys, publisherKey)
	found, err := b.built.Get(key, func() (*built, error) { return b.build(e, resolved, publisher) })
	if err != nil {
		return nil, key, err
	}
	endpoints := slices.Clone(found.endpoints)
	for i := range endpoints {
		endpoints[i].Handler = kept{endpoints[i].Handler, found}
	}
	return endpoints, key, nil
}

// Offline are the endpoints for tools that keep nothing.
func (e *Endpoints) Offline() []core.Endpoint {
	if e == nil {
		return nil
	}
	_, paths := e.at()
	return Offline(paths, "POST")
}

// Offline are endpoints that do nothing.
func Offline(paths []string, methods ...string) []core.Endpoint {
	endpoints := make([]core.Endpoint, len(paths))
	for i, path := range paths {
		endpoints[i] = core.Endpoint{Path: path, Methods: methods, MaxBody: webhook.MaxBody, Handler: offline{}}
	}
	return endpoints
}

type offline struct{}

func (offline) Respond(context.Context, *core.Call, []byte) (core.Response, error) {
	return core.Response{}, errors.New("this tool keeps no revocation")
}

// resolved is what a section names and does not hold.
type resolved struct {
	secrets map[string][]string // by the path of the first setting
	trust   string
	keys    []string // texts of key files
}

// minSecret is the least length of a secret, in bytes.
const minSecret = 32

func (e *Endpoints) resolve() (r resolved, err error) {
	r.secrets = map[string][]string{}
	for at, pair := range e.secretsAt() {
		for i, reference := range pair {
			value, err := setting.Resolve(string(reference))
			path := at + []string{".secret", ".previous_secret"}[i]
			if err == nil && len(value) < minSecret && value != "" {
				err = fmt.Errorf("has %d bytes; want at least %d, such as of openssl rand -hex 32", len(value), minSecret)
			}
			if err != nil {
				return r, section.At(path, err)
			}
			r.secrets[at] = append(r.secrets[at], value)
		}
	}
	if r.trust, err = section.Authorities("revocation_endpoints.http.ca_file", e.Outbound.CAFile); err != nil {
		return r, err
	}
	for at, file := range e.keyFilesAt() {
		text, err := setting.ReadBounded(file, setting.MaxDocument)
		if err != nil {
			return r, section.At(at, err)
		}
		r.keys = append(r.keys, file, string(text))
	}
	slices.Sort(r.keys)
	return r, nil
}

func (e *Endpoints) secretsAt() map[string][2]setting.Secret {
	at := map[string][2]setting.Secret{}
	if s := e.SharedSignals; s != nil {
		at["revocation_endpoints.shared_signals"] = [2]setting.Secret{s.Secret, s.PreviousSecret}
	}
	for i, w := range e.Webhooks {
		at[section.Item("revocation_endpoints.webhooks", i)] = [2]setting.Secret{w.Secret, w.PreviousSecret}
	}
	if a := e.Admin; a != nil {
		at["revocation_endpoints.admin"] = [2]setting.Secret{a.Secret, a.PreviousSecret}
	}
	return at
}

func (e *Endpoints) keyFilesAt() map[string]string {
	at := map[string]string{}
	add := func(list string, i int, file string) {
		if file != "" {
			at[section.Item(list, i)+".jwks_file"] = file
		}
	}
	if b := e.BackChannelLogout; b != nil {
		for i, issuer := range b.Issuers {
			add("revocation_endpoints.back_channel_logout.issuers", i, issuer.JWKSFile)
		}
	}
	if s := e.SharedSignals; s != nil {
		for i, t := range s.Transmitters {
			add("revocation_endpoints.shared_signals.transmitters", i, t.JWKSFile)
		}
	}
	return at
}

// maker makes the endpoints of a section.
type maker struct {
	*Builder
	section   *Endpoints
	resolved  resolved
	publisher revocation.Publisher
	made      built
}

func (b *Builder) build(e *Endpoints, r resolved, publisher revocation.Publisher) (*built, error) {
	m := &maker{Builder: b, section: e, resolved: r, publisher: publisher}
	client, err := b.client(e.Outbound)
	if err != nil {
		return nil, err
	}
	if err := m.backChannelLogout(client); err != nil {
		return nil, err
	}
	if err := m.sharedSignals(client); err != nil {
		return nil, err
	}
	for i, w := range e.Webhooks {
		if err := m.webhook(section.Item("revocation_endpoints.webhooks", i), w); err != nil {
			return nil, err
		}
	}
	if a := e.Admin; a != nil {
		all := Webhook{Path: a.Path, Header: "Authorization", Kinds: []string{"session", "subject", "client", "token", "issuer"}}
		if err := m.webhook("revocation_endpoints.admin", all); err != nil {
			return nil, err
		}
	}
	if again, err := e.resolve(); err != nil || shared.KeyOf(again.trust, again.keys) != shared.KeyOf(r.trust, r.keys) {
		return nil, cmp.Or(err, errors.New("revocation_endpoints: a file changed while it was read"))
	}
	return &m.made, nil
}

func (b *Builder) client(o section.Outbound) (*idp.Client, error) {
	client, err := idp.New(idp.Options{
		Observe:            func(took time.Duration, err error) { b.options.Calls("revocation_endpoints", took, err) },
		Timeout:            o.Timeout.Duration(),
		MaxConcurrent:      o.MaxConcurrent,
		CAFile:             o.CAFile,
		InsecureSkipVerify: !o.SSLVerify,
		Now:                b.options.Now,
	})
	if err != nil {
		return nil, section.At("revocation_endpoints.http.ca_file", err)
	}
	return client, nil
}

func (m *maker) backChannelLogout(client *idp.Client) error {
	s := m.section.BackChannelLogout
	if s == nil {
		return nil
	}
	var issuers []jwt.Issuer
	bySubject := map[string]bool{}
	for _, i := range s.Issuers {
		issuers = append(issuers, jwt.Issuer{
			Issuer: i.Issuer, JWKSURL: i.JWKSURI, JWKSFile: i.JWKSFile, Audiences: i.ClientIDs, Algorithms: i.Algorithms, Types: backchannel.Types(),
		})
		bySubject[i.Issuer] = i.Revoke == "subject"
	}
	verifier, err := m.verifier("revocation_endpoints.back_channel_logout", client, issuers, s.Leeway)
	if err != nil {
		return err
	}
	protocol := backchannel.New(backchannel.Options{Verifier: verifier, BySubject: bySubject, MaxAge: s.MaxAge.Duration(), Now: m.options.Now})
	return m.add("back_channel_logout", s.Path, backchannel.MaxBody, protocol)
}

func (m *maker) sharedSignals(client *idp.Client) error {
	const at = "revocation_endpoints.shared_signals"
	s := m.section.SharedSignals
	if s == nil {
		return nil
	}
	var issuers []jwt.Issuer
	transmitters := map[string]signals.Transmitter{}
	for _, t := range s.Transmitters {
		issuers = append(issuers, jwt.Issuer{
			Issuer: t.Issuer, JWKSURL: t.JWKSURI, JWKSFile: t.JWKSFile, Audiences: t.Audience, Algorithms: t.Algorithms, Types: []string{signals.Type},
		})
		of := t.SubjectIssuers
		if len(of) == 0 {
			of = []string{t.Issuer}
		}
		transmitters[t.Issuer] = signals.Transmitter{Issuer: of[0], Issuers: of, EmailIsSubject: t.EmailIsSubject}
	}
	verifier, err := m.verifier(at, client, issuers, s.Leeway)
	if err != nil {
		return err
	}
	protocol := signals.New(signals.Options{
		Verifier: verifier, Transmitters: transmitters, Secrets: m.secrets(at, "Authorization"), MaxAge: s.MaxAge.Duration(), Now: m.options.Now,
	})
	return m.add("shared_signals", s.Path, signals.MaxBody, protocol)
}

func (m *maker) verifier(at string, client *idp.Client, issuers []jwt.Issuer, leeway setting.Seconds) (*jwt.Verifier, error) {
	v, err := jwt.New(jwt.Options{
		Issuers: issuers, Client: client, Leeway: max(leeway.Duration(), time.Nanosecond), Log: m.options.Log, Now: m.options.Now,
	})
	if err != nil {
		return nil, section.At(at, err)
	}
	v.Waiting() // has the keys fetched before the first token comes
	return v, nil
}

func (m *maker) webhook(at string, w Webhook) error {
	source := "admin"
	if w.Name != "" {
		source = "webhook/" + w.Name
	}
	var kinds []revocation.Kind
	for _, kind := range w.Kinds {
		kinds = append(kinds, revocation.Kind(kind))
	}
	return m.add(source, w.Path, webhook.MaxBody, webhook.New(webhook.Options{
		Name: source, Secrets: m.secrets(at, w.Header), Kinds: kinds, Issuer: w.Issuer, Verify: w.Action == "verify",
	}))
}

func (m *maker) secrets(at, header string) receive.Secrets {
	return receive.Secrets{Header: header, Values: m.resolved.secrets[at]}
}

func (m *maker) add(source, path string, maxBody int, protocol receive.Protocol) error {
	endpoint, err := receive.Endpoint(receive.Options{
		Source: source, Path: path, MaxBody: maxBody, Protocol: protocol, Publisher: m.publisher,
		Rate:     attempts.Rate{Count: m.section.Rate, Window: time.Minute},
		Counters: &m.counters, Log: m.options.Log, Now: m.options.Now,
	})
	m.made.endpoints = append(m.made.endpoints, endpoint)
	return err
}
