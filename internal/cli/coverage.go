// coverage openapi command

package cli
