package fleet

import (
	"fmt"
	"slices"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken/api"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/authn/attempts"
	"gatehouse/core/config/section"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/receive"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// tokenAPI are the endpoints of a section, with what they use.
type tokenAPI struct {
	endpoints []core.Endpoint
	database  *postgres.Kept // nil: the tokens are in a file
}

// inUseBy keeps what was built of a section for as long as a gate uses an endpoint of it.
type inUseBy struct {
	core.EndpointHandler
	*tokenAPI
}

// TokenAPI finds or makes the endpoints by which API tokens are managed, and what
// identifies them; without settings there are none.
func (b *Builder) TokenAPI(a *section.APIToken, roles *SubjectRoles, s Sections) ([]core.Endpoint, shared.Key, error) {
	if a == nil || a.Admin == nil {
		return nil, shared.Key{}, nil
	}
	secrets, err := adminSecrets(a.Admin)
	if err != nil {
		return nil, shared.Key{}, err
	}
	o := manage.Options{MaxLifetime: a.MaxLifetime.Duration(), NoExpiry: a.InsecureNoExpiry, Source: "API of tokens", Now: b.options.Now}
	made := &tokenAPI{}
	var databaseKey, publisherKey shared.Key
	if a.InDatabase() {
		if made.database, databaseKey, err = b.Database(editor(s.Postgres, a.Admin)); err != nil {
			return nil, shared.Key{}, err
		}
		o.Keeper, o.Owners = DatabaseTokens(made.database.Client, roles != nil)
	} else {
		k := tokenfile.NewKeeper(a.TokenFile)
		o.Keeper, o.Owners = k, k
	}
	if s.Revocation != nil {
		var publisher revocation.Publisher
		if publisher, publisherKey, err = b.Publisher(s); err != nil {
			return nil, shared.Key{}, err
		}
		o.Publisher = publisher
	}
	key := shared.KeyOf("API of tokens", a, secrets, roles != nil, databaseKey, publisherKey)
	found, err := b.tokenAPIs.Get(key, func() (*tokenAPI, error) {
		made.endpoints, err = api.Endpoints(api.Options{
			Manager: manage.New(o), Path: a.Admin.Path, Secrets: receive.Secrets{Header: "Authorization", Values: secrets},
			Rate: attempts.Rate{Count: a.Admin.Rate, Window: time.Minute}, Log: b.options.Log, Now: b.options.Now,
		})
		return made, err
	})
	if err != nil {
		return nil, key, err
	}
	endpoints := slices.Clone(found.endpoints)
	for i := range endpoints {
		endpoints[i].Handler = inUseBy{endpoints[i].Handler, found}
	}
	return endpoints, key, nil
}

// editor is the section of the database for who changes tokens.
func editor(p *Postgres, a *section.APITokenAdmin) *Postgres {
	if a.PostgresUser == "" {
		return p
	}
	own := *p
	own.User, own.Password, own.PoolSize = a.PostgresUser, a.PostgresPassword, 2
	return &own
}

// minAdminSecret is the least length of a secret, in bytes.
const minAdminSecret = 32

func adminSecrets(a *section.APITokenAdmin) (values []string, err error) {
	for i, reference := range []setting.Secret{a.Secret, a.PreviousSecret} {
		value, err := setting.Resolve(string(reference))
		if err == nil && len(value) < minAdminSecret && (value != "" || i == 0) {
			err = fmt.Errorf("has %d bytes; want at least %d, such as of openssl rand -hex 32", len(value), minAdminSecret)
		}
		if err != nil {
			return nil, section.At([]string{"api_token.admin.secret", "api_token.admin.previous_secret"}[i], err)
		}
		values = append(values, value)
	}
	return values, nil
}
