package report

import "strings"

// DidYouMean ends a message about an unknown name with the known name that
// looks most like it, if one does.
func DidYouMean(name string, known []string) string {
	best := Closest(name, known, max(1, min(3, len(name)/3)))
	if best == "" {
		return ""
	}
	return "; did you mean " + Quote(best) + "?"
}

// Closest returns the first of the known names with the fewest edits between it
// and name, and no more than most; "" where there is none. Case does not count.
func Closest(name string, known []string, most int) string {
	best, limit := "", most+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k), limit); d < limit {
			best, limit = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two words, or any number that is
// not below limit once it is known not to be.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitution := diagonal
			if a[i-1] != b[j-1] {
				substitution++
			}
			diagonal = row[j]
			row[j] = min(substitution, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
