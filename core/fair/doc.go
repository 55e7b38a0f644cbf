// Package fair shares slots among clients: whoever asks for many gets no more than
// its share while others want one. A client is told apart by its address.
package fair
