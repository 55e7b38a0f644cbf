package lint

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/permission/analysis"
)

// owners names those whom activities belong to, a few of them.
func owners(list []analysis.Neighbour) string {
	names := ownerNames(list)
	if len(names) > 3 {
		return strings.Join(names[:2], ", ") + fmt.Sprintf(" and %d more", len(names)-2)
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func ownerNames(list []analysis.Neighbour) []string {
	var names []string
	for _, n := range list {
		if !slices.Contains(names, n.Owner()) {
			names = append(names, n.Owner())
		}
	}
	return names
}

func agree(list []analysis.Neighbour, one, many string) string {
	if len(ownerNames(list)) == 1 {
		return one
	}
	return many
}

func take(list []analysis.Neighbour) string  { return agree(list, "decides", "decide") }
func cover(list []analysis.Neighbour) string { return agree(list, "covers", "cover") }
func open(list []analysis.Neighbour) string  { return agree(list, "opens", "open") }

// quoted puts a text of a table between quotes, with its backslashes as they
// are written.
func quoted(s string) string { return `"` + s + `"` }

func contains(list []string, s string) bool { return slices.Contains(list, s) }

func countSlashes(path string) int { return strings.Count(path, "/") }
