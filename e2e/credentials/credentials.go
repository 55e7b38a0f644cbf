package credentials

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"gatehouse/dev/demo"
	"gatehouse/dev/demo/site"
	"gatehouse/dev/ory"
	"gatehouse/e2e/vector"
)

// Servers are the running backends.
type Servers struct {
	Kratos  ory.KratosAPI
	Hydra   ory.HydraAPI
	SiteURL string // without a trailing slash
}

// Set is all people, clients and credentials.
type Set struct {
	// Values are what the placeholders of the vectors stand for, but for the
	// gateway's own "host".
	Values vector.Values
	// Secrets are the credentials among them by name; none may show up in a
	// log or in a response to another client.
	Secrets map[string]string

	servers  Servers
	accounts demo.Accounts
	tag      string
	ctx      context.Context
	err      error
}

// apiScopes are those that the demo's permission table knows.
var apiScopes = []string{"users:read", "products:read", "orders:read"}

// Provision creates everything but the accounts of the demo. The tag becomes
// part of every new name, so that running servers can be provisioned again.
func Provision(ctx context.Context, s Servers, accounts demo.Accounts, tag string) (*Set, error) {
	c := &Set{
		Values: vector.Values{}, Secrets: map[string]string{},
		servers: s, accounts: accounts, tag: tag, ctx: ctx,
	}
	for _, step := range []func(){c.demoAccounts, c.tokens, c.sessions, c.forgeries, c.awaitExpiry} {
		if step(); c.err != nil {
			return nil, fmt.Errorf("provision the credentials of the vectors: %w", c.err)
		}
	}
	return c, nil
}

// ValuesAt are the values at a gateway with the given host, its own included.
func (c *Set) ValuesAt(host string) vector.Values {
	values := maps.Clone(c.Values)
	values["host"], values["host.escaped"] = host, url.QueryEscape(host)
	return values
}

// value sets what a placeholder stands for.
func (c *Set) value(name, value string) {
	if value == "" && c.err == nil {
		c.err = fmt.Errorf("%s is empty", name)
	}
	c.Values[name] = value
}

func (c *Set) secret(name, value string) {
	c.value(name, value)
	c.Secrets[name] = value
}

func (c *Set) failed(err error) bool {
	if c.err == nil {
		c.err = err
	}
	return c.err != nil
}

func (c *Set) demoAccounts() {
	c.value("login", c.servers.SiteURL+"/login")
	c.value("issuer", c.servers.Hydra.Issuer())
	a := c.accounts
	c.value("ada", a.Ada.ID)
	c.value("ada.email", a.Ada.Email)
	c.value("bob", a.Bob.ID)
	c.value("bob.email", a.Bob.Email)
	c.value("machine", a.Machine.ID)
	c.value("machine-jwt", a.MachineJWT.ID)

	got := a.Credentials
	c.secret("session", got.Session.Cookie)
	c.secret("session.bob", got.BobSession.Cookie)
	c.secret("session.token", got.AppSession.Token)
	c.secret("opaque", got.Opaque.AccessToken)
	c.secret("refresh", got.Opaque.RefreshToken)
	c.secret("id", got.Opaque.IDToken)
	c.secret("jwt", got.JWT.AccessToken)
	c.secret("jwt.refresh", got.JWT.RefreshToken)
	c.secret("opaque.machine", got.MachineOpaque.AccessToken)
	c.secret("jwt.machine", got.MachineJWT.AccessToken)
}

// person creates a person with a tenant of their own name, so that no two
// share one by accident.
func (c *Set) person(name string, roles ...string) ory.Person {
	p, err := c.servers.Kratos.CreatePerson(c.ctx, ory.Person{
		Email: name + "+" + c.tag + "@example.test", Password: rand.Text(), Name: name, Tenant: name, Roles: roles,
	})
	if !c.failed(err) {
		c.value(name, p.ID)
		c.value(name+".email", p.Email)
	}
	return p
}

func (c *Set) browserSession(p ory.Person) ory.Session {
	return c.signIn(p, c.servers.Kratos.SignInBrowser)
}

func (c *Set) appSession(p ory.Person) ory.Session { return c.signIn(p, c.servers.Kratos.SignIn) }

func (c *Set) signIn(p ory.Person, how func(_ context.Context, email, password string) (ory.Session, error)) ory.Session {
	if c.err != nil {
		return ory.Session{}
	}
	s, err := how(c.ctx, p.Email, p.Password)
	c.failed(err)
	return s
}

func (c *Set) sessions() {
	k := c.servers.Kratos
	eve := c.person("eve")
	c.secret("session.eve", c.browserSession(eve).Cookie)
	c.secret("session.mallory", c.browserSession(c.person("mallory", "viewer", "editor,admin")).Cookie)

	revoked, revokedApp := c.browserSession(eve), c.appSession(eve)
	c.secret("session.revoked", revoked.Cookie)
	c.secret("session.token.revoked", revokedApp.Token)
	inactive, deleted := c.person("ina"), c.person("del")
	c.secret("session.inactive", c.browserSession(inactive).Cookie)
	c.secret("session.deleted", c.browserSession(deleted).Cookie)
	for _, undo := range []func() error{
		func() error { return k.RevokeSession(c.ctx, revoked.ID) },
		func() error { return k.RevokeSession(c.ctx, revokedApp.ID) },
		func() error { return k.SetActive(c.ctx, inactive.ID, false) },
		func() error { return k.DeletePerson(c.ctx, deleted.ID) },
	} {
		if c.err == nil {
			c.failed(undo())
		}
	}
	c.ownTenant()
	c.secondFactor()
}

// ownTenant has Ted write a tenant into his own profile.
func (c *Set) ownTenant() {
	ted := c.person("ted", "viewer")
	s := c.browserSession(ted)
	c.secret("session.ted", s.Cookie)
	if c.err == nil {
		c.failed(c.setTrait(ted, "tenant", "acme"))
	}
}

// setTrait changes a trait as the settings page does for its owner.
func (c *Set) setTrait(p ory.Person, name, value string) error {
	patch, err := json.Marshal([]object{{"op": "replace", "path": "/traits/" + name, "value": value}})
	if err != nil {
		return err
	}
	address := c.servers.Kratos.AdminURL + "/admin/identities/" + p.ID
	request, err := http.NewRequestWithContext(c.ctx, http.MethodPatch, address, bytes.NewReader(patch))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("kratos responds with %s to a change of %s", response.Status, name)
	}
	return nil
}

// secondFactor gives Zoe sessions with one factor where she has two, and one
// with both.
func (c *Set) secondFactor() {
	zoe := c.person("zoe", "editor")
	c.secret("session.cookie.one-factor", c.browserSession(zoe).Cookie)
	enrols, two := c.appSession(zoe), c.appSession(zoe)
	if c.err != nil {
		return
	}
	totp, err := c.servers.Kratos.EnrolTOTP(c.ctx, enrols.Token)
	if c.failed(err) {
		return
	}
	raised, err := c.servers.Kratos.SignInTOTP(c.ctx, two.Token, totp)
	if c.failed(err) {
		return
	}
	c.secret("session.two-factors", raised.Token)
	c.secret("session.one-factor", c.appSession(zoe).Token)
}

func (c *Set) client(cl ory.Client) ory.Client {
	if c.err != nil {
		return cl
	}
	created, err := c.servers.Hydra.CreateClient(c.ctx, cl)
	c.failed(err)
	return created
}

func (c *Set) machineToken(cl ory.Client, audience []string, scopes ...string) string {
	if c.err != nil {
		return ""
	}
	t, err := c.servers.Hydra.ClientCredentials(c.ctx, cl, scopes, audience)
	c.failed(err)
	return t.AccessToken
}

const elsewhere = "https://elsewhere.example.test"

func (c *Set) tokens() {
	a := c.accounts
	here := []string{demo.Audience}
	for prefix, client := range map[string]ory.Client{"opaque": a.Machine, "jwt": a.MachineJWT} {
		c.secret(prefix+".users", c.machineToken(client, here, "users:read"))
		c.secret(prefix+".unscoped", c.machineToken(client, here))
		c.secret(prefix+".no-audience", c.machineToken(client, nil, apiScopes...))
		c.secret(prefix+".revoked", c.machineToken(client, here, apiScopes...))
		if c.err == nil {
			c.failed(c.servers.Hydra.Revoke(c.ctx, client, c.Values[prefix+".revoked"]))
		}
		machine := ory.Client{
			ID: prefix + "-" + c.tag, JWT: prefix == "jwt",
			Grants: []string{"client_credentials"}, Scopes: apiScopes, Audience: []string{demo.Audience, elsewhere},
		}
		other := c.client(machine)
		c.secret(prefix+".elsewhere", c.machineToken(other, []string{elsewhere}, apiScopes...))
		machine.ID, machine.AccessTokenLifespan = prefix+"-brief-"+c.tag, time.Second
		c.secret(prefix+".expired", c.machineToken(c.client(machine), here, apiScopes...))
	}
	c.idTokenForAPI()
	c.boundTokens()
	c.delegatedTokens()
}

const agents = "https://agents.example.test/"

// delegatedTokens get tokens by which agents act for people (RFC 8693 section 4.1).
func (c *Set) delegatedTokens() {
	agent := func(name string, before object) object {
		act := object{"iss": agents, "sub": name}
		if before != nil {
			act["act"] = before
		}
		return act
	}
	c.value("agent.support", agents+"#support")
	for name, act := range map[string]any{
		"support": agent("support", nil), "desk": agent("desk", nil), "stranger": agent("stranger", nil),
		"support-before-stranger": agent("stranger", agent("support", nil)), "stranger-before-support": agent("support", agent("stranger", nil)),
		"support-of-another-issuer": object{"iss": "https://evil.example.test/", "sub": "support"}, "unreadable": "support",
	} {
		for prefix, client := range map[string]ory.Client{"opaque": c.accounts.Web, "jwt": c.accounts.WebJWT} {
			c.delegatedToken(prefix+"."+name, client, c.accounts.Ada, act)
		}
	}
	c.delegatedToken("jwt.support.bob", c.accounts.WebJWT, c.accounts.Bob, agent("support", nil))
}

func (c *Set) delegatedToken(name string, client ory.Client, p ory.Person, act any) {
	if c.err != nil {
		return
	}
	claims := site.AccessClaims(p)
	claims["act"] = act
	token, err := c.servers.Hydra.AuthorizationCode(c.ctx, client, ory.Grant{Subject: p.ID, Scopes: []string{"openid"}, Audience: []string{demo.Audience}, AccessToken: claims})
	if !c.failed(err) {
		c.secret(name, token.AccessToken)
	}
}

// boundTokens get JWTs of Ada that are bound to a key and to a certificate.
func (c *Set) boundTokens() {
	key, thumbprint, err := vector.NewProofKey()
	if c.failed(err) {
		return
	}
	c.secret(vector.ProofKey, key)
	c.boundToken(vector.ProofToken, object{"jkt": thumbprint})
	c.boundToken(vector.ProofToken+".other", object{"jkt": thumbprint})
	c.certificates()
}

func (c *Set) boundToken(name string, confirmation object) {
	if c.err != nil {
		return
	}
	claims := site.AccessClaims(c.accounts.Ada)
	claims["cnf"] = confirmation
	token, err := c.servers.Hydra.AuthorizationCode(c.ctx, c.accounts.WebJWT, ory.Grant{
		Subject: c.accounts.Ada.ID, Scopes: []string{"openid", "orders:read", "users:read"}, Audience: []string{demo.Audience}, AccessToken: claims,
	})
	if !c.failed(err) {
		c.secret(name, token.AccessToken)
	}
}

// idTokenForAPI gets an ID token whose audience is the API's: that of a client
// that is named like it. The client is public, so that one of an earlier run
// serves as well.
func (c *Set) idTokenForAPI() {
	if c.err != nil {
		return
	}
	client := c.accounts.Web
	client.ID, client.Secret, client.Public = demo.Audience, "", true
	_, err := c.servers.Hydra.CreateClient(c.ctx, client)
	if response, refused := errors.AsType[*ory.ResponseError](err); refused && response.Status == http.StatusConflict {
		err = nil
	}
	if c.failed(err) {
		return
	}
	token, err := c.accounts.UserToken(c.ctx, client, c.accounts.Ada, "openid", "users:read")
	if !c.failed(err) {
		c.secret("id.for-api", token.IDToken)
	}
}

// awaitExpiry waits until the tokens that live for a second have ended.
func (c *Set) awaitExpiry() {
	for _, name := range []string{"opaque.expired", "jwt.expired"} {
		for active := true; active && c.err == nil; time.Sleep(100 * time.Millisecond) {
			response, err := c.servers.Hydra.Introspect(c.ctx, c.Values[name])
			c.failed(err)
			active = response["active"] == true
		}
	}
}
