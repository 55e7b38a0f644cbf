// Command pages writes the manual pages and completions of the packages into a folder, from
// the commands themselves:
//
//	go run ./pages DIR VERSION DATE
//
// DATE is in seconds since 1970, and stands in the pages.
package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"gatehouse/internal/cli"
)

// written are pages of programs without subcommands, in Markdown. Their first line is that
// of a manual page: title, section, date, source and manual, separated by "%".
//
//go:embed *.8.md
var written embed.FS

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: pages DIR VERSION DATE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "pages:", err)
		os.Exit(1)
	}
}

func write(dir, version, seconds string) error {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("date %q: want seconds since 1970", seconds)
	}
	date := time.Unix(n, 0).UTC()
	for _, step := range []func() error{
		func() error { return commands(filepath.Join(dir, "man1"), version, date) },
		func() error { return services(filepath.Join(dir, "man8"), version, date) },
		func() error { return completions(filepath.Join(dir, "completions")) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// commands writes a page for each command of the command line.
func commands(dir, version string, date time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return doc.GenManTree(root(), &doc.GenManHeader{Section: "1", Source: "Gatehouse " + version, Manual: "Gatehouse", Date: &date}, dir)
}

// root is the command line with all commands that it has when it runs.
func root() *cobra.Command {
	root := cli.Command()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true // a line with the day of the build
	return root
}

// services writes the pages that are not of the command line.
func services(dir, version string, date time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := written.ReadDir(".")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := written.ReadFile(f.Name())
		if err != nil {
			return err
		}
		filled := strings.NewReplacer("DATE", date.Format("2006-01-02"), "VERSION", version).Replace(string(text))
		if err := os.WriteFile(filepath.Join(dir, strings.TrimSuffix(f.Name(), ".md")), md2man.Render([]byte(filled)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// completions writes them for each shell, by the names under which the shells look for them.
func completions(dir string) error {
	for name, write := range map[string]func(string) error{
		"bash/gatehouse":      func(file string) error { return root().GenBashCompletionFileV2(file, true) },
		"zsh/_gatehouse":      func(file string) error { return root().GenZshCompletionFile(file) },
		"fish/gatehouse.fish": func(file string) error { return root().GenFishCompletionFile(file, true) },
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := write(file); err != nil {
			return err
		}
	}
	return nil
}
