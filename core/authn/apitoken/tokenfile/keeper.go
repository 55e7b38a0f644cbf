package tokenfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
)

// Keeper changes a token file. Two changes at once follow each other. Comments in the
// file are lost.
type Keeper struct{ path string }

var _ manage.Keeper = Keeper{}

// NewKeeper keeps tokens in the file at a path, which need not be there yet.
func NewKeeper(path string) Keeper { return Keeper{path} }

// Add adds a record.
func (k Keeper) Add(_ context.Context, r *apitoken.Record) error {
	return k.edit(func(f *File) error { return k.add(f, r) })
}

func (k Keeper) add(f *File, records ...*apitoken.Record) error {
	for _, r := range records {
		same := func(other *apitoken.Record) bool { return other.ID == r.ID || other.Digest == r.Digest }
		if slices.ContainsFunc(f.Tokens, same) {
			return fmt.Errorf("%s: %w: %s", k.path, manage.ErrExists, r.ID)
		}
		f.Tokens = append(f.Tokens, r)
	}
	return nil
}

// List are all records.
func (k Keeper) List(context.Context) ([]*apitoken.Record, error) {
	f, err := k.read()
	if err != nil {
		return nil, err
	}
	return f.Tokens, nil
}

// Update changes a record and adds others, by one rename.
func (k Keeper) Update(_ context.Context, id string, change func(*apitoken.Record) error, add ...*apitoken.Record) error {
	return k.edit(func(f *File) error {
		i := slices.IndexFunc(f.Tokens, func(r *apitoken.Record) bool { return r.ID == id })
		if i < 0 {
			return apitoken.ErrUnknown
		}
		if err := change(f.Tokens[i]); err != nil {
			return err
		}
		return k.add(f, add...)
	})
}

// SetAccount makes or changes a service account.
func (k Keeper) SetAccount(_ context.Context, name string, a manage.Account, _ string) error {
	return k.edit(func(f *File) error {
		f.put(apitoken.Owner{ServiceAccount: name}, Grants(a))
		return nil
	})
}

// Grants are those of an owner in the file as it is now.
func (k Keeper) Grants(_ context.Context, o apitoken.Owner) (apitoken.Grants, error) {
	f, err := k.read()
	if err != nil {
		return apitoken.Grants{}, err
	}
	return grantsOf(f.Owners, o, k.path)
}

// read reads a file that is not there as an empty one.
func (k Keeper) read() (*File, error) {
	f, err := Read(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return &File{Owners: map[apitoken.Owner]Grants{}}, nil
	}
	return f, err
}

// edit writes a changed file in the place of the old one, with its mode and owner, or
// leaves that as it is.
func (k Keeper) edit(change func(*File) error) error {
	unlock, err := lock(k.path)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := k.read()
	if err != nil {
		return err
	}
	if err := change(f); err != nil {
		return err
	}
	text, err := f.text(k.path)
	if err != nil {
		return err
	}
	if _, err := parse(text); err != nil { // nodes could not read it
		return fmt.Errorf("%s would not load: %w", k.path, err)
	}
	return replace(k.path, text)
}

func replace(path string, text []byte) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(fresh.Name())
	if info, err := os.Stat(path); err == nil {
		keepOwner(fresh, info)
		err = fresh.Chmod(info.Mode().Perm())
		if err != nil {
			return err
		}
	}
	_, err = fresh.Write(text)
	err = errors.Join(err, fresh.Sync(), fresh.Close())
	if err != nil {
		return err
	}
	return os.Rename(fresh.Name(), path)
}
