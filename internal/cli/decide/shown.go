package decide

import (
	"context"

	"gatehouse/core/permission/prove"
	"gatehouse/internal/cli/tables"
)

// Confirm has a gate that has the table, and no configuration, decide a witness as gatehouse
// explain does.
func (t ComparedTable) Confirm(ctx context.Context) (func(*prove.Witness) error, error) {
	p, err := t.prover()
	return func(w *prove.Witness) error { return p.confirm(ctx, w) }, err
}

// ShownJSON is a witness for programs.
type ShownJSON struct {
	Call   *provenCallJSON `json:"call"`
	Caller *tables.WhoJSON `json:"caller"`
}

// ShownForJSON writes a witness for programs.
func ShownForJSON(w *prove.Witness) *ShownJSON {
	return &ShownJSON{provenCallForJSON(w), tables.WhoForJSON(w.Principal)}
}
