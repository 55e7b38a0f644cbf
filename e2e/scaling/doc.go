// Package scaling measures what the nodes of a fleet ask of the systems behind them, with
// the real engine against real servers, and compares it with the model of
// docs/scaling.md.
package scaling
