//go:build !race

package config

const racing = false
