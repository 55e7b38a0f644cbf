//go:build race

package config

// With the race detector pools keep less, and what they lost is allocated anew.
const racing = true
