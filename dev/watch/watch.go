// Package watch tells when a config file changed.
package watch

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// File calls changed after path was written, replaced, renamed into place or
// touched. Events closer together than settle count as one. The returned
// function ends the watch and waits until changed no longer runs.
func File(path string, settle time.Duration, changed func()) (stop func(), err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	// Editors replace files: only the folder survives that.
	if err := watcher.Add(filepath.Dir(path)); err != nil {
		_ = watcher.Close()
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		report(watcher, path, settle, changed)
	}()
	return func() { _ = watcher.Close(); <-done }, nil
}

func report(watcher *fsnotify.Watcher, path string, settle time.Duration, changed func()) {
	quiet := time.NewTimer(settle)
	quiet.Stop()
	for {
		select {
		case event, ok := <-watcher.Events:
			if !ok {
				return
			}
			if event.Name == path && !event.Has(fsnotify.Remove) {
				quiet.Reset(settle)
			}
		case _, ok := <-watcher.Errors:
			if !ok {
				return
			}
			quiet.Reset(settle) // events were lost: look anyway
		case <-quiet.C:
			changed()
		}
	}
}
