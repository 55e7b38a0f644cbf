package signinimport

import (
	"errors"
	"regexp/syntax"
	"strconv"

	"gatehouse/core/permission"
)

// wholePaths turns a regex that is looked for anywhere in a path into regexes of whole
// paths, one for each alternative of its outermost level. loose says that it is tied to
// fewer than both ends.
func wholePaths(regex string) (paths []string, loose bool, err error) {
	tree, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		return nil, false, errors.New("it is no regular expression")
	}
	alternatives := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpAlternate {
		alternatives = tree.Sub
	}
	for _, alternative := range alternatives {
		path, tied, err := wholePath(alternative)
		if err != nil {
			return nil, false, err
		}
		paths, loose = append(paths, path), loose || !tied
	}
	return paths, loose, nil
}

func wholePath(tree *syntax.Regexp) (path string, tied bool, err error) {
	parts := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		parts = tree.Sub
	}
	begins, ends := false, false
	for len(parts) > 0 && parts[0].Op == syntax.OpBeginText {
		begins, parts = true, parts[1:]
	}
	for len(parts) > 0 && parts[len(parts)-1].Op == syntax.OpEndText {
		ends, parts = true, parts[:len(parts)-1]
	}
	for _, part := range parts {
		if hasAnchor(part) {
			return "", false, errors.New("it is tied to something else than the ends of the path")
		}
		text := part.String()
		if part.Op == syntax.OpAlternate {
			text = "(?:" + text + ")"
		}
		path += text
	}
	if !begins {
		path = ".*" + path
	}
	if !ends {
		path += ".*"
	}
	return path, begins && ends, nil
}

// hasAnchor finds what matches a place and not a text.
func hasAnchor(tree *syntax.Regexp) bool {
	switch tree.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	}
	for _, sub := range tree.Sub {
		if hasAnchor(sub) {
			return true
		}
	}
	return false
}

// check says why an activity would not load, or nothing.
func (a activity) check() error {
	_, err := permission.Compile(&permission.File{Public: []permission.Activity{{Methods: a.Methods, Path: a.Path}}})
	return err
}

// number reads a port.
func number(text string) int64 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 6379
	}
	return int64(n)
}
