package tokenfile

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/authn/apitoken"
)

var (
	good      = apitoken.Generate()
	other     = apitoken.Generate()
	goodEntry = "- {id: t1, digest: '" + apitoken.DigestOf(good).String() + "', name: laptop, subject: ada, issuer: 'https://id.test', roles: [clerk], created: 2030-01-01T00:00:00Z, expires: 2030-06-01T00:00:00Z"
)

const owners = `version: 1
users:
- {subject: ada, issuer: 'https://id.test', roles: [clerk, admin]}
- {subject: bob, suspended: true}
service_accounts:
- {name: nightly, permissions: [orders:read]}
`

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestFileReadsAsItIsWritten(t *testing.T) {
	text := owners + "tokens:\n" + goodEntry + ", networks: [10.0.0.0/8, '2001:db8::/32', 192.0.2.7], hosts: ['*.api.test'], created_by: ops, revoked: 2030-02-01T00:00:00Z}\n"
	f, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"tokens.yaml", "tokens.json"} {
		again, err := f.text(path)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parse(again)
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		twice, err := back.text(path)
		if err != nil || !bytes.Equal(again, twice) || len(back.Tokens) != 1 || len(back.Owners) != 3 || len(back.Tokens[0].Networks) != 3 {
			t.Errorf("%s, %v", twice, err)
		}
	}
}

func TestFileThatCannotBeTrustedIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no version":               {"tokens: []\n", "version is needed"},
		"of a newer version":       {"version: 2\ntokens: []\nshiny: true\n", "was written by a newer version of Gatehouse (version 2, this one reads 1): update this node"},
		"version 0":                {"version: 0\n", "version is 0; write version: 1"},
		"unknown key":              {"version: 1\ntoken: []\n", "field token not found"},
		"a token in plain text":    {"version: 1\ntokens:\n- {id: t1, digest: " + other + ", subject: ada}\n", "holds an API token; only digests may be in it"},
		"a token in a comment":     {"version: 1\n# " + other + "\n", "holds an API token"},
		"two rows of one digest":   {owners + "tokens:\n" + goodEntry + "}\n" + strings.Replace(goodEntry, "t1", "t2", 1) + "}\n", "tokens[1]: digest is that of tokens[0], too"},
		"two rows of one id":       {owners + "tokens:\n" + goodEntry + "}\n" + strings.Replace(goodEntry, apitoken.DigestOf(good).String(), apitoken.DigestOf(other).String(), 1) + "}\n", "tokens[1]: id t1 is that of tokens[0], too"},
		"two of one owner":         {owners + "- {name: nightly}\n", "service account nightly is there twice"},
		"networks without a value": {owners + "tokens:\n" + goodEntry + ", networks: }\n", "networks has no value; leave it out, or give it one"},
		"networks that are empty":  {owners + "tokens:\n" + goodEntry + ", networks: []}\n", "networks is empty, which could mean none or any"},
		"hosts that are empty":     {owners + "tokens:\n" + goodEntry + ", hosts: []}\n", "hosts is empty, which could mean none or any"},
		"roles without a value":    {owners + "tokens:\n" + strings.Replace(goodEntry, "[clerk]", "", 1) + "}\n", "roles has no value"},
		"roles that are text":      {owners + "tokens:\n" + strings.Replace(goodEntry, "[clerk]", "admin", 1) + "}\n", "line 8: cannot unmarshal !!str the value into []string"},
		"every address":            {owners + "tokens:\n" + goodEntry + ", networks: [0.0.0.0/0]}\n", "0.0.0.0/0 is every address"},
		"a wildcard":               {owners + "tokens:\n" + goodEntry + ", networks: ['*']}\n", `"*" is no network`},
		"a digest cut short":       {"version: 1\ntokens:\n- {id: t1, digest: 'sha256:00', subject: ada, created: 2030-01-01T00:00:00Z}\n", "digest is needed: sha256: and 64 hexadecimal digits"},
		"no creation":              {"version: 1\ntokens:\n- {id: t1, digest: '" + apitoken.DigestOf(good).String() + "', subject: ada}\n", "created is needed"},
		"nobody's":                 {"version: 1\ntokens:\n- {id: t1, digest: '" + apitoken.DigestOf(good).String() + "', created: 2030-01-01T00:00:00Z}\n", "subject or service_account is needed"},
		"a key twice":              {"version: 1\nversion: 1\n", "already defined"},
		"two documents":            {"version: 1\n---\nversion: 1\n", "holds more than one document"},
		"nothing":                  {"", "version is needed"},
		"no YAML":                  {"\t{", "cannot start any token"},
	} {
		_, err := parse([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), other) || strings.Contains(err.Error(), good)) {
			t.Errorf("%s: the error holds a token", name)
		}
	}
}

// followed is a store whose file changes.
type followed struct {
	*Store
	path string
	log  *bytes.Buffer
}

func open(t *testing.T, text string, mode os.FileMode) *followed {
	t.Helper()
	f := &followed{path: filepath.Join(t.TempDir(), "tokens.yaml"), log: &bytes.Buffer{}}
	write(t, f.path, text)
	if err := os.Chmod(f.path, mode); err != nil {
		t.Fatal(err)
	}
	f.Store = Open(f.path, slog.New(slog.NewTextHandler(f.log, nil)), time.Now)
	return f
}

// becomes waits until a look-up ends so.
func (f *followed) becomes(t *testing.T, want string) {
	t.Helper()
	got := ""
	for range 200 {
		r, err := f.Find(t.Context(), apitoken.DigestOf(good))
		switch {
		case errors.Is(err, apitoken.ErrUnknown):
			got = "unknown"
		case err != nil:
			got = "error"
		case !r.Revoked.IsZero():
			got = "revoked"
		default:
			got = "good"
		}
		if got == want {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("the token is %s, want %s", got, want)
}

func TestChangeOfTheFileCountsAndMovesWhatIsCachedAway(t *testing.T) {
	f := open(t, owners+"tokens:\n"+goodEntry+"}\n", 0o600)
	f.becomes(t, "good")
	before := f.Changed()
	write(t, f.path, owners+"tokens:\n"+goodEntry+", revoked: 2030-01-02T00:00:00Z}\n")
	f.becomes(t, "revoked")
	if !f.Changed().After(before) {
		t.Error("nothing says that what is cached does not count any more")
	}
	write(t, f.path, owners)
	f.becomes(t, "unknown")
}

func TestBrokenFileLeavesTheLastGoodOneInForce(t *testing.T) {
	f := open(t, owners+"tokens:\n"+goodEntry+"}\n", 0o600)
	write(t, f.path, "version: 1\ntokens: 7\n")
	for range 100 {
		if f.value.State().Err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.becomes(t, "good")
	if f.value.State().Err == nil {
		t.Fatal("the broken file was not noticed")
	}
	write(t, f.path, owners)
	f.becomes(t, "unknown")
}

func TestFileThatHasNeverLoadedIsNoAnswer(t *testing.T) {
	f := open(t, "version: 9\n", 0o600)
	f.becomes(t, "error")
	if _, err := f.Grants(t.Context(), apitoken.Owner{Subject: "ada"}); err == nil || errors.Is(err, apitoken.ErrGone) {
		t.Errorf("owners: %v", err)
	}
	if f.Loaded() {
		t.Error("it has loaded")
	}
}

func TestFileThatEverybodyMayWriteIsRefused(t *testing.T) {
	f := open(t, owners+"tokens:\n"+goodEntry+"}\n", 0o602)
	f.becomes(t, "error")
	if !strings.Contains(f.log.String(), "may be written by everybody") {
		t.Error(f.log.String())
	}
}

func TestFileThatEverybodyMayReadIsTold(t *testing.T) {
	f := open(t, owners+"tokens:\n"+goodEntry+"}\n", 0o644)
	f.becomes(t, "good")
	if !strings.Contains(f.log.String(), "may be read by everybody") {
		t.Error(f.log.String())
	}
}

func TestOwnerThatIsNotThereOrSuspendedIsGone(t *testing.T) {
	f := open(t, owners, 0o600)
	if g, err := f.Grants(t.Context(), apitoken.Owner{Subject: "ada", Issuer: "https://id.test"}); err != nil || len(g.Roles) != 2 {
		t.Errorf("%+v, %v", g, err)
	}
	for _, o := range []apitoken.Owner{{Subject: "ada"}, {Subject: "ada", Issuer: "https://id.test/"}, {Subject: "Ada", Issuer: "https://id.test"}, {Subject: "bob"}, {Subject: "nightly"}, {ServiceAccount: "ada"}, {}} {
		if g, err := f.Grants(t.Context(), o); !errors.Is(err, apitoken.ErrGone) || len(g.Roles) > 0 {
			t.Errorf("%s: %+v, %v", o, g, err)
		}
	}
}

func TestRotationInAFileIsWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	text := owners + "tokens:\n" + goodEntry + "}\n"
	write(t, path, text)
	k := NewKeeper(path)
	revoke := func(r *apitoken.Record) error { r.Revoked = r.Created.Add(time.Second); return nil }
	fresh := func(token string) *apitoken.Record {
		return &apitoken.Record{ID: "t2", Digest: apitoken.DigestOf(token), Owner: apitoken.Owner{Subject: "ada", Issuer: "https://id.test"}, Created: time.Unix(2e9, 0), Expires: time.Unix(2e9+60, 0)}
	}
	for name, add := range map[string]*apitoken.Record{"of the same digest": fresh(good), "that no node would read": {ID: "t3"}} {
		if err := k.Update(t.Context(), "t1", revoke, add); err == nil {
			t.Errorf("a second token %s is kept", name)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("a second token %s: the file has changed:\n%s", name, now)
		}
	}
	if err := k.Update(t.Context(), "t1", revoke, fresh(other)); err != nil {
		t.Fatal(err)
	}
	all, err := k.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Revoked.IsZero() || !all[1].Revoked.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
}
