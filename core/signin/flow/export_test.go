package flow

// Target is where a browser returns.
func Target(f *Flow, text string) (string, error) { return f.target(text) }
