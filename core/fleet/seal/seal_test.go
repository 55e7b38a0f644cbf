package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"gatehouse/core/fleet/seal"
)

const (
	old    = "0123456789abcdef0123456789abcdef"
	newest = "fedcba9876543210fedcba9876543210"
)

func box(t *testing.T, label string, secrets ...string) *seal.Box {
	t.Helper()
	b, err := seal.New(label, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestValueOpensUnderItsNameForItsPurposeWithItsSecretOnly(t *testing.T) {
	name, plain := []byte("name"), []byte("plain")
	sealed := box(t, "purpose", old).Seal(name, plain)
	if got, err := box(t, "purpose", newest, old).Open(name, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q, %v", got, err)
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)/2] ^= 1
	for attack, open := range map[string]func() ([]byte, error){
		"another name":    func() ([]byte, error) { return box(t, "purpose", old).Open([]byte("other"), sealed) },
		"another purpose": func() ([]byte, error) { return box(t, "other", old).Open(name, sealed) },
		"another secret":  func() ([]byte, error) { return box(t, "purpose", newest).Open(name, sealed) },
		"a bit changed":   func() ([]byte, error) { return box(t, "purpose", old).Open(name, changed) },
		"cut short":       func() ([]byte, error) { return box(t, "purpose", old).Open(name, sealed[:20]) },
		"nothing":         func() ([]byte, error) { return box(t, "purpose", old).Open(name, nil) },
	} {
		if got, err := open(); !errors.Is(err, seal.ErrSealed) || got != nil {
			t.Errorf("%s: %q, %v", attack, got, err)
		}
	}
}

func TestSecretThatCanBeGuessedIsRefused(t *testing.T) {
	for name, secrets := range map[string][]string{"none": nil, "short": {old[1:]}, "a short one before": {old, "short"}} {
		if _, err := seal.New("purpose", secrets...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
