package keys

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"gatehouse/core/upstreamtoken/signing"
)

// create writes a file that only this user can read. One that is there stays.
func create(path string, set *signing.Set) error {
	text, err := set.Private()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return write(file, text)
}

// replace writes a file whole: whoever reads it meanwhile gets the one before. It keeps
// the owner and the mode, so that the gateway can read what it could read before.
func replace(path string, set *signing.Set) error {
	text, err := set.Private()
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	before, err := os.Stat(path)
	if err != nil {
		return err
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	if owner, ok := before.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != os.Geteuid() || int(owner.Gid) != os.Getegid()) {
		err = fresh.Chown(int(owner.Uid), int(owner.Gid))
	}
	err = errors.Join(err, fresh.Chmod(before.Mode().Perm()))
	if err = errors.Join(err, write(fresh, text)); err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		os.Remove(fresh.Name())
	}
	return err
}

func write(file *os.File, text []byte) error {
	_, err := file.Write(append(text, '\n'))
	return errors.Join(err, file.Sync(), file.Close())
}
