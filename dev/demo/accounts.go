package demo

import (
	"context"
	"crypto/rand"
	"fmt"

	"gatehouse/dev/demo/site"
	"gatehouse/dev/ory"
)

// Audience is what every token of the demo is for.
const Audience = "https://api.example.test"

// Scopes of the web client, the classic example.
var Scopes = []string{"openid", "offline", "users:read", "products:read", "orders:read"}

// apiScopes are those that a machine may have.
var apiScopes = []string{"users:read", "products:read", "orders:read"}

// Accounts are the people and clients of the demo with fresh credentials.
type Accounts struct {
	Ada ory.Person // role editor, tenant acme
	Bob ory.Person // role viewer, tenant acme

	Web        ory.Client // authorization code and refresh, opaque tokens
	WebJWT     ory.Client // the same with JWTs
	Machine    ory.Client // client credentials, opaque tokens
	MachineJWT ory.Client // the same with JWTs

	Credentials Credentials

	kratos ory.KratosAPI
	hydra  ory.HydraAPI
}

// Credentials are ready to be sent. Those of people are Ada's unless they say
// otherwise, and their tokens carry roles and tenant.
type Credentials struct {
	Session    ory.Session // from a browser: Cookie
	AppSession ory.Session // from an application: Token
	BobSession ory.Session // from a browser: Cookie

	Opaque    ory.Token // of the client Web, all scopes, with a refresh token
	JWT       ory.Token // of the client WebJWT, all scopes, with a refresh token
	UsersOnly ory.Token // of the client Web, only the scope users:read

	MachineOpaque ory.Token
	MachineJWT    ory.Token
}

// Provision creates people, clients and credentials in running servers. The tag
// becomes part of every name, so that one pair of servers can be provisioned
// many times; without one the names are ada@example.test and web.
func Provision(ctx context.Context, k ory.KratosAPI, h ory.HydraAPI, siteURL, tag string) (Accounts, error) {
	a := Accounts{kratos: k, hydra: h}
	for _, step := range []func() error{
		func() error { return a.createPeople(ctx, tag) },
		func() error { return a.createClients(ctx, siteURL, tag) },
		func() error { return a.signIn(ctx) },
		func() error { return a.getTokens(ctx) },
	} {
		if err := step(); err != nil {
			return Accounts{}, fmt.Errorf("provision the demo: %w", err)
		}
	}
	return a, nil
}

func (a *Accounts) createPeople(ctx context.Context, tag string) (err error) {
	if tag != "" {
		tag = "+" + tag
	}
	a.Ada, err = a.kratos.CreatePerson(ctx, ory.Person{
		Email: "ada" + tag + "@example.test", Password: rand.Text(), Name: "Ada", Tenant: "acme", Roles: []string{"editor"},
	})
	if err != nil {
		return err
	}
	a.Bob, err = a.kratos.CreatePerson(ctx, ory.Person{
		Email: "bob" + tag + "@example.test", Password: rand.Text(), Name: "Bob", Tenant: "acme", Roles: []string{"viewer"},
	})
	return err
}

func (a *Accounts) createClients(ctx context.Context, siteURL, tag string) error {
	if tag != "" {
		tag = "-" + tag
	}
	web := ory.Client{
		Grants: []string{"authorization_code", "refresh_token"}, Scopes: Scopes, Audience: []string{Audience},
		RedirectURIs: []string{siteURL + "/client/callback"}, PostLogoutRedirectURIs: []string{siteURL + "/"},
	}
	machine := ory.Client{Grants: []string{"client_credentials"}, Scopes: apiScopes, Audience: []string{Audience}}

	a.Web, a.WebJWT, a.Machine, a.MachineJWT = web, web, machine, machine
	a.Web.ID, a.Web.Name = "web"+tag, "Web client"
	a.WebJWT.ID, a.WebJWT.Name, a.WebJWT.JWT = "web-jwt"+tag, "Web client with JWTs", true
	a.Machine.ID, a.Machine.Name = "machine"+tag, "Machine client"
	a.MachineJWT.ID, a.MachineJWT.Name, a.MachineJWT.JWT = "machine-jwt"+tag, "Machine client with JWTs", true
	for _, c := range []*ory.Client{&a.Web, &a.WebJWT, &a.Machine, &a.MachineJWT} {
		created, err := a.hydra.CreateClient(ctx, *c)
		if err != nil {
			return err
		}
		*c = created
	}
	return nil
}

func (a *Accounts) signIn(ctx context.Context) (err error) {
	c := &a.Credentials
	if c.Session, err = a.kratos.SignInBrowser(ctx, a.Ada.Email, a.Ada.Password); err != nil {
		return err
	}
	if c.BobSession, err = a.kratos.SignInBrowser(ctx, a.Bob.Email, a.Bob.Password); err != nil {
		return err
	}
	c.AppSession, err = a.kratos.SignIn(ctx, a.Ada.Email, a.Ada.Password)
	return err
}

func (a *Accounts) getTokens(ctx context.Context) (err error) {
	c := &a.Credentials
	if c.Opaque, err = a.UserToken(ctx, a.Web, a.Ada, Scopes...); err != nil {
		return err
	}
	if c.JWT, err = a.UserToken(ctx, a.WebJWT, a.Ada, Scopes...); err != nil {
		return err
	}
	if c.UsersOnly, err = a.UserToken(ctx, a.Web, a.Ada, "users:read"); err != nil {
		return err
	}
	if c.MachineOpaque, err = a.MachineToken(ctx, a.Machine, apiScopes...); err != nil {
		return err
	}
	c.MachineJWT, err = a.MachineToken(ctx, a.MachineJWT, apiScopes...)
	return err
}

// UserToken gets a token that a person granted to a client, by the whole
// authorization code flow, as the consent page would.
func (a *Accounts) UserToken(ctx context.Context, c ory.Client, p ory.Person, scopes ...string) (ory.Token, error) {
	return a.hydra.AuthorizationCode(ctx, c, ory.Grant{
		Subject: p.ID, Scopes: scopes, Audience: []string{Audience}, AccessToken: site.AccessClaims(p),
	})
}

// MachineToken gets a token for a client itself.
func (a *Accounts) MachineToken(ctx context.Context, c ory.Client, scopes ...string) (ory.Token, error) {
	return a.hydra.ClientCredentials(ctx, c, scopes, []string{Audience})
}
