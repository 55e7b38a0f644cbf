package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"gatehouse/dev/demo/site"
	"gatehouse/dev/ory"
)

// Parts are the servers of a demo that runs in several processes, as the
// compose files in deploy/ start it. All URLs are the ones that a browser
// uses, without trailing slashes.
type Parts struct {
	Kratos   ory.KratosAPI
	Hydra    ory.HydraAPI
	SiteURL  string
	Gateways []Gateway
}

// Files that Seed writes.
const (
	environmentFile = "credentials.env" // for people: a shell script
	clientFile      = "web-client.json" // for the site
)

// Seed creates the demo's people, clients and credentials, in place of those
// of an earlier run, and writes the credentials to a folder.
func (p Parts) Seed(ctx context.Context, dir string) error {
	if err := p.forget(ctx); err != nil {
		return fmt.Errorf("remove what an earlier run created: %w", err)
	}
	accounts, err := Provision(ctx, p.Kratos, p.Hydra, p.SiteURL, "")
	if err != nil {
		return err
	}
	d := Demo{Accounts: accounts, options: Options{Gateways: p.Gateways}}
	environment := d.Environment() + fmt.Sprintf("ADA_PASSWORD='%s'\nBOB_PASSWORD='%s'\n", accounts.Ada.Password, accounts.Bob.Password)
	client, err := json.Marshal(accounts.Web)
	return errors.Join(err,
		os.WriteFile(filepath.Join(dir, environmentFile), []byte(environment), 0o600),
		os.WriteFile(filepath.Join(dir, clientFile), client, 0o600),
	)
}

// forget deletes what Provision creates under the names without a tag.
func (p Parts) forget(ctx context.Context) error {
	for _, id := range []string{"web", "web-jwt", "machine", "machine-jwt"} {
		if err := p.Hydra.DeleteClient(ctx, id); err != nil && !isNotFound(err) {
			return err
		}
	}
	for _, email := range []string{"ada@example.test", "bob@example.test"} {
		if err := p.forgetPerson(ctx, email); err != nil {
			return err
		}
	}
	return nil
}

func isNotFound(err error) bool {
	response, ok := errors.AsType[*ory.ResponseError](err)
	return ok && response.Status == http.StatusNotFound
}

func (p Parts) forgetPerson(ctx context.Context, email string) error {
	query := url.Values{"credentials_identifier": {email}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Kratos.AdminURL+"/admin/identities?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("kratos responds with %s to a search for %s", response.Status, email)
	}
	var found []struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		return fmt.Errorf("kratos' response to a search for %s: %w", email, err)
	}
	for _, person := range found {
		if err := p.Kratos.DeletePerson(ctx, person.ID); err != nil {
			return err
		}
	}
	return nil
}

// Site is the login and consent site, with the web client that Seed wrote to
// the folder.
func (p Parts) Site(dir string, log *slog.Logger) (http.Handler, error) {
	text, err := os.ReadFile(filepath.Join(dir, clientFile))
	if err != nil {
		return nil, fmt.Errorf("the web client is not known, seed the demo first: %w", err)
	}
	var client ory.Client
	if err := json.Unmarshal(text, &client); err != nil {
		return nil, fmt.Errorf("%s: %w", clientFile, err)
	}
	o := Options{Gateways: p.Gateways}
	pages, apis := o.links()
	return site.New(site.Config{
		URL: p.SiteURL, Kratos: p.Kratos, Hydra: p.Hydra,
		ReturnURLs: o.gatewayURLs(), Links: pages, Client: client, APIs: apis, Log: log,
	})
}
