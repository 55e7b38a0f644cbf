// import openapi command

package cli
