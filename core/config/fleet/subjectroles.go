package fleet

import (
	"context"
	"fmt"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/attempts"
	"gatehouse/core/cache"
	"gatehouse/core/config/section"
	"gatehouse/core/fleet/apitokens"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/subjects"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// SubjectRoles complete callers by what the database grants to them.
type SubjectRoles struct {
	Mode          string          `config:"mode" default:"add" one_of:"add,replace" doc:"Whether roles and permissions of the database are added to those of the credential, or replace them. Scopes stay those of the credential."`
	Credentials   []string        `config:"credentials" len_min:"1" default:"session,jwt,introspection" one_of:"session,jwt,introspection" doc:"Kinds of credentials whose callers are completed. API tokens are not: they state themselves what they may do."`
	SessionIssuer string          `config:"session_issuer" default:"kratos" doc:"Issuer of the subjects of sessions, which name none. The issuer of Hydra, where its subjects are those of Kratos."`
	CacheTTL      setting.Seconds `config:"cache_ttl" default:"30" between:"0.1,3600" doc:"How long a node uses what it has read without asking again, in seconds. A change is told to all nodes and counts within a second; this bounds how long it takes while notifications do not come."`
	MaxStale      setting.Seconds `config:"max_stale" default:"0" between:"0,86400" doc:"For how much longer it is used while the database is away, in seconds. 0: callers then get 503 when cache_ttl is over."`
}

// Check reports what no single tag can say.
func (s *SubjectRoles) Check(v section.Validator, p *Postgres, i *section.Introspection) {
	if s == nil {
		return
	}
	if p == nil && !v.Mentions("postgres") {
		v.Add("subject_roles", "needs the section postgres, where the roles are")
	}
	if s.SessionIssuer == "" {
		v.Add("subject_roles.session_issuer", "is empty; leave it out, or name the issuer of sessions")
	}
	for _, kind := range s.Credentials {
		if kind == string(core.KindIntrospection) && i != nil && i.Issuer == "" {
			v.Add("introspection.issuer", "is needed for subject_roles: a server that may name any issuer could name another one's subjects")
		}
	}
}

// Completed puts the completion of callers around an authenticator, and adds to what
// identifies it; without settings it returns both as they are.
func (b *Builder) Completed(next *attempts.Authenticator, key shared.Key, s *SubjectRoles, p *Postgres, limits section.Cache) (core.Authenticator, shared.Key, error) {
	if s == nil {
		return next, key, nil
	}
	store, storeKey, err := b.subjectStore(s, p, limits)
	if err != nil {
		return nil, key, err
	}
	kinds := make([]core.Kind, len(s.Credentials))
	for i, kind := range s.Credentials {
		kinds[i] = core.Kind(kind)
	}
	completed := subjects.Around(next, subjects.Options{Granter: store, Kinds: kinds, Replace: s.Mode == "replace", SessionIssuer: s.SessionIssuer})
	return completed, shared.KeyOf(key, storeKey, s), nil
}

// Subjects are what the database grants, and what identifies it; nil: there are no settings.
func (b *Builder) Subjects(s *SubjectRoles, p *Postgres, limits section.Cache) (*subjects.Store, shared.Key, error) {
	if s == nil {
		return nil, shared.Key{}, nil
	}
	return b.subjectStore(s, p, limits)
}

// Users are the subjects of the database as owners of API tokens, and what identifies
// them; nil: there are no settings.
func (b *Builder) Users(s *SubjectRoles, p *Postgres, limits section.Cache) (apitoken.Owners, shared.Key, error) {
	if s == nil {
		return nil, shared.Key{}, nil
	}
	database, key, err := b.Database(p)
	if err != nil {
		return nil, key, err
	}
	return Users{database.Client}, key, nil
}

// DatabaseTokens are the tokens and their owners in a database. Without the section
// subject_roles nodes alone know what users may do.
func DatabaseTokens(c *postgres.Client, usersKnown bool) (manage.Keeper, apitoken.Owners) {
	k := apitokens.NewKeeper(c)
	return k, tokenOwners{k, Users{c}, usersKnown}
}

type tokenOwners struct {
	apitokens.Keeper
	users      Users
	usersKnown bool
}

// Grants are those of an owner.
func (t tokenOwners) Grants(ctx context.Context, o apitoken.Owner) (apitoken.Grants, error) {
	switch {
	case o.ServiceAccount != "":
		return t.Keeper.Grants(ctx, o)
	case !t.usersKnown:
		return apitoken.Grants{}, manage.ErrElsewhere
	}
	return t.users.Grants(ctx, o)
}

// Users are the subjects of a database as owners of API tokens: as they are now, since
// the tokens are cached themselves. One to whom nothing is granted is none.
type Users struct{ Database *postgres.Client }

// Grants are those of a user.
func (u Users) Grants(ctx context.Context, o apitoken.Owner) (apitoken.Grants, error) {
	g, err := subjects.Read(ctx, u.Database, subjects.Identity{Issuer: o.Issuer, Name: o.Subject})
	switch {
	case err != nil:
		return apitoken.Grants{}, err
	case len(g.Roles)+len(g.Permissions) == 0:
		return apitoken.Grants{}, fmt.Errorf("%w: the database grants nothing to %s (subject_roles)", apitoken.ErrGone, o)
	}
	return apitoken.Grants{Roles: g.Roles, Permissions: g.Permissions}, nil
}

func (b *Builder) subjectStore(s *SubjectRoles, p *Postgres, limits section.Cache) (*subjects.Store, shared.Key, error) {
	database, databaseKey, err := b.Database(p)
	if err != nil {
		return nil, shared.Key{}, err
	}
	storeKey := shared.KeyOf("subject roles", databaseKey, s.CacheTTL, s.MaxStale, limits)
	store, err := b.subjects.Get(storeKey, func() (*subjects.Store, error) {
		return subjects.NewStore(subjects.StoreOptions{
			Database: database,
			TTL:      s.CacheTTL.Duration(),
			MaxStale: s.MaxStale.Duration(),
			Poll:     p.PollInterval.Duration(),
			Limits:   cache.Limits{Entries: limits.MaxEntries, Bytes: limits.MaxBytes},
			Counters: &b.granted,
			Log:      b.options.Log,
			Now:      b.options.Now,
		})
	})
	if err != nil {
		return nil, storeKey, section.At("subject_roles", err)
	}
	return store, storeKey, nil
}
