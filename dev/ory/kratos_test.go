package ory_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
)

const password = "correct horse battery staple"

func ada(t *testing.T, k *ory.Kratos) ory.Person {
	t.Helper()
	p, err := k.CreatePerson(t.Context(), ory.Person{
		Email:    strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())) + "@example.test",
		Password: password, Name: "Ada", Tenant: "acme", Roles: []string{"editor"}, Permissions: []string{"orders.read"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantStatus fails unless err is a response with that status.
func wantStatus(t *testing.T, err error, status int) *ory.ResponseError {
	t.Helper()
	var response *ory.ResponseError
	if !errors.As(err, &response) || response.Status != status {
		t.Fatalf("got %v, want status %d", err, status)
	}
	return response
}

func TestKratos(t *testing.T) {
	k := orytest.Kratos(t, ory.KratosConfig{})

	t.Run("an application signs in for a token", func(t *testing.T) {
		p := ada(t, k)
		s, err := k.SignIn(t.Context(), p.Email, password)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(s.Token, "ory_st_") || s.Cookie != "" {
			t.Errorf("session %+v", s)
		}
		checkAda(t, p, s)
		seen, err := k.Whoami(t.Context(), s.Token)
		if err != nil {
			t.Fatal(err)
		}
		checkAda(t, p, seen)
		if seen.ID != s.ID || seen.ID == "" || seen.ExpiresAt.IsZero() {
			t.Errorf("whoami says %+v, signing in said %+v", seen, s)
		}
	})

	t.Run("a browser signs in for a cookie", func(t *testing.T) {
		p := ada(t, k)
		s, err := k.SignInBrowser(t.Context(), p.Email, password)
		if err != nil {
			t.Fatal(err)
		}
		if s.Cookie == "" || s.Token != "" {
			t.Errorf("session %+v", s)
		}
		seen, err := k.WhoamiCookie(t.Context(), s.Cookie)
		if err != nil {
			t.Fatal(err)
		}
		checkAda(t, p, seen)
	})

	t.Run("a wrong password is refused", func(t *testing.T) {
		p := ada(t, k)
		_, err := k.SignIn(t.Context(), p.Email, "wrong")
		response := wantStatus(t, err, http.StatusBadRequest)
		if !strings.Contains(response.Reason, "credentials are invalid") {
			t.Errorf("reason %q", response.Reason)
		}
		if _, err = k.SignInBrowser(t.Context(), p.Email, "wrong"); err == nil {
			t.Error("the browser flow took a wrong password")
		}
	})

	t.Run("a revoked session is refused", func(t *testing.T) {
		p := ada(t, k)
		s, err := k.SignIn(t.Context(), p.Email, password)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.RevokeSession(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		_, err = k.Whoami(t.Context(), s.Token)
		wantStatus(t, err, http.StatusUnauthorized)
	})

	t.Run("an inactive person is refused", func(t *testing.T) {
		p := ada(t, k)
		s, err := k.SignIn(t.Context(), p.Email, password)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.SetActive(t.Context(), p.ID, false); err != nil {
			t.Fatal(err)
		}
		_, err = k.Whoami(t.Context(), s.Token)
		wantStatus(t, err, http.StatusUnauthorized)
		if err := k.SetActive(t.Context(), p.ID, true); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Whoami(t.Context(), s.Token); err != nil {
			t.Errorf("active again: %v", err)
		}
	})

	t.Run("a deleted person is refused", func(t *testing.T) {
		p := ada(t, k)
		s, err := k.SignIn(t.Context(), p.Email, password)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.DeletePerson(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		_, err = k.Whoami(t.Context(), s.Token)
		wantStatus(t, err, http.StatusUnauthorized)
	})

	t.Run("changed roles show at once", func(t *testing.T) {
		p := ada(t, k)
		s, err := k.SignIn(t.Context(), p.Email, password)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.SetMetadata(t.Context(), p.ID, ory.Metadata{Roles: []string{"viewer"}}); err != nil {
			t.Fatal(err)
		}
		seen, err := k.Whoami(t.Context(), s.Token)
		if err != nil || strings.Join(seen.Person.Roles, " ") != "viewer" || seen.Person.Tenant != "" {
			t.Errorf("whoami says %+v, %v", seen, err)
		}
	})

	t.Run("a second factor is demanded once enrolled", func(t *testing.T) {
		p := ada(t, k)
		s, err := k.SignIn(t.Context(), p.Email, password)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := k.EnrolTOTP(t.Context(), s.Token)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := k.SignIn(t.Context(), p.Email, password)
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Whoami(t.Context(), fresh.Token)
		if response := wantStatus(t, err, http.StatusForbidden); response.ID != "session_aal2_required" {
			t.Errorf("error id %q", response.ID)
		}
		raised, err := k.SignInTOTP(t.Context(), fresh.Token, secret)
		if err != nil {
			t.Fatal(err)
		}
		seen, err := k.Whoami(t.Context(), raised.Token)
		if err != nil || seen.AAL != "aal2" {
			t.Errorf("whoami says %+v, %v", seen, err)
		}
		if _, err := k.EnrolTOTP(t.Context(), raised.Token); err == nil {
			t.Error("enrolled twice")
		}
	})
}

func checkAda(t *testing.T, want ory.Person, s ory.Session) {
	t.Helper()
	p := s.Person
	if p.ID != want.ID || p.Email != want.Email || p.Name != "Ada" || p.Tenant != "acme" || strings.Join(p.Roles, " ") != "editor" ||
		strings.Join(p.Permissions, " ") != "orders.read" || s.AAL != "aal1" {
		t.Errorf("session %+v is not of %+v", s, want)
	}
}

func TestKratosOnFixedPorts(t *testing.T) {
	public, admin := freePort(t), freePort(t)
	k := orytest.Kratos(t, ory.KratosConfig{PublicPort: public, AdminPort: admin, Host: "localhost"})
	ada(t, k) // it responds there
	if !strings.HasPrefix(k.PublicURL, "http://localhost:") {
		t.Errorf("public URL %s", k.PublicURL)
	}

	// A second one must not take the first for itself.
	_, err := ory.StartKratos(t.Context(), ory.KratosConfig{Binary: orytest.Binaries(t).Kratos, PublicPort: public, AdminPort: admin})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("started twice on the same ports: %v", err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	h, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Release)
	return h.Port()
}

func TestWrongKratosSettingIsReportedWithItsLog(t *testing.T) {
	_, err := ory.StartKratos(t.Context(), ory.KratosConfig{Binary: orytest.Binaries(t).Kratos, RequiredAAL: "aal9"})
	if err == nil || !strings.Contains(err.Error(), "required_aal") {
		t.Errorf("error %v does not name the setting", err)
	}
}

func TestCancelledStartStopsTheServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := ory.StartKratos(ctx, ory.KratosConfig{Binary: orytest.Binaries(t).Kratos})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
