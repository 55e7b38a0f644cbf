package ory

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"io"
	"maps"
	"net"
	"net/url"
	"strconv"
	"time"

	"gatehouse/dev/process"
)

// SessionCookie is the name of Kratos' session cookie.
const SessionCookie = "ory_kratos_session"

// identitySchema has the traits email, name and tenant. What a user may do is
// in metadata_public, because users edit their own traits.
//
//go:embed identity.schema.json
var identitySchema []byte

// KratosConfig says how to run Kratos. Only Binary is required.
type KratosConfig struct {
	// Binary is the program, from [Ensure].
	Binary string
	// Listen is the address of both ports. Default 127.0.0.1.
	Listen string
	// Host is the name in URLs. Default: Listen. Browsers send a cookie to every
	// port of the host that set it, so gateways must use the same name.
	Host string
	// PublicPort and AdminPort are free ports when zero.
	PublicPort, AdminPort int
	// UI is the base URL of the site that has /login, /registration, /settings
	// and /error. Default http://127.0.0.1:4455.
	UI string
	// ReturnURLs are URL prefixes, beside UI, to which a browser may be sent
	// back after a flow.
	ReturnURLs []string
	// SessionLifespan is how long a session is valid. Default 24 h.
	SessionLifespan time.Duration
	// RequiredAAL is "highest_available" (the default: who has a second factor
	// must use it) or "aal1".
	RequiredAAL string
	// PasswordHooks run after a person has changed the password, in their order, as
	// selfservice.flows.settings.after.password.hooks has them. Files are those that
	// they name, by file://NAME.
	PasswordHooks []map[string]any
	Files         map[string][]byte
	// Log receives what the server logs, warnings and above. May be nil.
	Log io.Writer
}

// Kratos is a running Kratos.
type Kratos struct {
	KratosAPI
	*process.Process
}

// StartKratos runs Kratos with an empty in-memory database and returns once it
// serves. The context bounds the start alone; end the server with Stop.
func StartKratos(ctx context.Context, c KratosConfig) (*Kratos, error) {
	c = c.withDefaults()
	return onPorts(c.Listen, c.PublicPort, c.AdminPort, func(public, admin int) (*Kratos, error) {
		api := KratosAPI{PublicURL: baseURL(c.Host, public), AdminURL: baseURL(c.Host, admin)}
		p, err := start(ctx, launch{
			name:   "kratos",
			binary: c.Binary,
			args:   []string{"serve"},
			config: c.settings(api, public, admin),
			files:  c.files(),
			ready:  baseURL(c.Listen, admin) + "/admin/health/ready",
			log:    c.Log,
		})
		if err != nil {
			return nil, err
		}
		return &Kratos{KratosAPI: api, Process: p}, nil
	})
}

func (c KratosConfig) files() map[string][]byte {
	files := map[string][]byte{"identity.schema.json": identitySchema}
	maps.Copy(files, c.Files)
	return files
}

func (c KratosConfig) withDefaults() KratosConfig {
	c.Listen, c.Host, c.UI = addresses(c.Listen, c.Host, c.UI)
	c.SessionLifespan = cmp.Or(c.SessionLifespan, 24*time.Hour)
	c.RequiredAAL = cmp.Or(c.RequiredAAL, "highest_available")
	return c
}

// addresses are those of a configuration of either server, with the defaults.
func addresses(listen, host, ui string) (string, string, string) {
	listen = cmp.Or(listen, "127.0.0.1")
	return listen, cmp.Or(host, listen), cmp.Or(ui, "http://127.0.0.1:4455")
}

// object keeps the settings readable.
type object = map[string]any

func (c KratosConfig) settings(api KratosAPI, public, admin int) object {
	return object{
		"dsn": "memory",
		"serve": object{
			"public": object{"host": c.Listen, "port": public, "base_url": api.PublicURL + "/"},
			"admin":  object{"host": c.Listen, "port": admin, "base_url": api.AdminURL + "/"},
		},
		"secrets":     object{"cookie": []string{secret(32)}, "cipher": []string{secret(32)}},
		"ciphers":     object{"algorithm": "xchacha20-poly1305"},
		"hashers":     object{"algorithm": "bcrypt", "bcrypt": object{"cost": 4}}, // fast, not safe
		"log":         object{"level": "warning", "format": "text"},
		"session":     c.sessionSettings(),
		"identity":    object{"default_schema_id": "default", "schemas": []object{{"id": "default", "url": "file://identity.schema.json"}}},
		"selfservice": c.selfserviceSettings(),
		// No mail is ever sent, and nothing listens there.
		"courier":       object{"smtp": object{"connection_uri": "smtp://127.0.0.1:1/?disable_starttls=true"}},
		"feature_flags": object{"cacheable_sessions": true, "cacheable_sessions_max_age": "5m"},
	}
}

func (c KratosConfig) sessionSettings() object {
	return object{
		"lifespan": c.SessionLifespan.String(),
		"cookie":   object{"name": SessionCookie, "same_site": "Lax"},
		"whoami":   object{"required_aal": c.RequiredAAL},
	}
}

func (c KratosConfig) selfserviceSettings() object {
	return object{
		"default_browser_return_url": c.UI + "/",
		"allowed_return_urls":        append([]string{c.UI}, c.ReturnURLs...),
		"methods": object{
			// Its password check calls a service on the internet.
			"password": object{"enabled": true, "config": object{"haveibeenpwned_enabled": false, "identifier_similarity_check_enabled": false}},
			"totp":     object{"enabled": true, "config": object{"issuer": "Gatehouse demo"}},
			"link":     object{"enabled": false},
			"code":     object{"enabled": false},
		},
		"flows": object{
			"login": object{"ui_url": c.UI + "/login", "lifespan": "1h"},
			"registration": object{
				"ui_url":                 c.UI + "/registration",
				"lifespan":               "1h",
				"enable_legacy_one_step": true,
				"after":                  object{"password": object{"hooks": []object{{"hook": "session"}}}},
			},
			"settings":     c.settingsFlow(),
			"error":        object{"ui_url": c.UI + "/error"},
			"logout":       object{"after": object{"default_browser_return_url": c.UI + "/"}},
			"recovery":     object{"enabled": false},
			"verification": object{"enabled": false},
		},
	}
}

func (c KratosConfig) settingsFlow() object {
	flow := object{"ui_url": c.UI + "/settings", "required_aal": c.RequiredAAL}
	if len(c.PasswordHooks) > 0 {
		flow["after"] = object{"password": object{"hooks": c.PasswordHooks}}
	}
	return flow
}

func baseURL(host string, port int) string {
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(port))}
	return u.String()
}

// secret makes n random letters and digits, for settings that no person needs to
// know. Kratos insists on 32 for its cipher.
func secret(n int) string {
	s := ""
	for len(s) < n {
		s += rand.Text()
	}
	return s[:n]
}
