package ory

import (
	"cmp"
	"context"
	"io"
	"time"

	"gatehouse/dev/process"
)

// HydraConfig says how to run Hydra. Only Binary is required.
type HydraConfig struct {
	// Binary is the program, from [Ensure].
	Binary string
	// Listen is the address of both ports. Default 127.0.0.1.
	Listen string
	// Host is the name in URLs, the issuer among them. Default: Listen.
	Host string
	// PublicPort and AdminPort are free ports when zero.
	PublicPort, AdminPort int
	// UI is the base URL of the site that has /oauth2/login, /oauth2/consent,
	// /oauth2/logout and /error. Default http://127.0.0.1:4455.
	UI string
	// AccessTokenLifespan is how long access tokens are valid. Default 1 h.
	AccessTokenLifespan time.Duration
	// RegistersClients: anybody may register a client (RFC 7591), with these scopes where it
	// names none.
	RegistersClients []string
	// Log receives what the server logs, warnings and above. May be nil.
	Log io.Writer
}

// Hydra is a running Hydra.
type Hydra struct {
	HydraAPI
	*process.Process
}

// StartHydra runs Hydra with an empty in-memory database and returns once it
// serves and has its signing keys. The context bounds the start alone; end the
// server with Stop.
func StartHydra(ctx context.Context, c HydraConfig) (*Hydra, error) {
	c = c.withDefaults()
	return onPorts(c.Listen, c.PublicPort, c.AdminPort, func(public, admin int) (*Hydra, error) {
		api := HydraAPI{PublicURL: baseURL(c.Host, public), AdminURL: baseURL(c.Host, admin)}
		p, err := start(ctx, launch{
			name:   "hydra",
			binary: c.Binary,
			args:   []string{"serve", "all"},
			config: c.settings(api, public, admin),
			ready:  baseURL(c.Listen, public) + "/.well-known/jwks.json",
			log:    c.Log,
		})
		if err != nil {
			return nil, err
		}
		return &Hydra{HydraAPI: api, Process: p}, nil
	})
}

func (c HydraConfig) withDefaults() HydraConfig {
	c.Listen, c.Host, c.UI = addresses(c.Listen, c.Host, c.UI)
	c.AccessTokenLifespan = cmp.Or(c.AccessTokenLifespan, time.Hour)
	return c
}

func (c HydraConfig) settings(api HydraAPI, public, admin int) object {
	registration, discovery := object{"enabled": false}, object{}
	if len(c.RegistersClients) > 0 {
		registration = object{"enabled": true, "default_scope": c.RegistersClients}
		discovery["client_registration_url"] = api.PublicURL + "/oauth2/register" // which Hydra names nowhere by itself
	}
	return object{
		"oidc":      object{"dynamic_client_registration": registration},
		"webfinger": object{"oidc_discovery": discovery},
		"dsn":       "memory",
		"serve": object{
			"public": object{"host": c.Listen, "port": public},
			"admin":  object{"host": c.Listen, "port": admin},
		},
		"urls":    c.urlSettings(api),
		"secrets": object{"system": []string{secret(32)}, "cookie": []string{secret(32)}},
		"log":     object{"level": "warn", "format": "text"},
		"strategies": object{
			"access_token": "opaque", // a client may ask for JWTs
			"scope":        "exact",
			"jwt":          object{"scope_claim": "both"},
		},
		"ttl": object{"access_token": c.AccessTokenLifespan.String()},
		"oauth2": object{
			"hashers":                  object{"algorithm": "bcrypt", "bcrypt": object{"cost": 4}}, // fast, not safe
			"pkce":                     object{"enforced_for_public_clients": true},
			"allowed_top_level_claims": []string{"roles", "tenant", "cnf"},
			"mirror_top_level_claims":  true,
		},
	}
}

func (c HydraConfig) urlSettings(api HydraAPI) object {
	return object{
		"self":                 object{"issuer": api.Issuer(), "public": api.PublicURL + "/"},
		"login":                c.UI + "/oauth2/login",
		"consent":              c.UI + "/oauth2/consent",
		"logout":               c.UI + "/oauth2/logout",
		"error":                c.UI + "/error",
		"post_logout_redirect": c.UI + "/",
	}
}
