// Looks one name up as the CA does (pure Go, the files under /etc) and prints what came of it as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
)

type result struct {
	Addresses []string `json:"addresses"`
	NotFound  bool     `json:"not_found"`
	Timeout   bool     `json:"timeout"`
	Error     string   `json:"error"`
}

func main() {
	resolver := &net.Resolver{PreferGo: true}
	found, err := resolver.LookupIPAddr(context.Background(), os.Args[1])
	answer := result{Addresses: []string{}}
	for _, address := range found {
		answer.Addresses = append(answer.Addresses, address.String())
	}
	var failure *net.DNSError
	if errors.As(err, &failure) {
		answer.NotFound, answer.Timeout, answer.Error = failure.IsNotFound, failure.IsTimeout, failure.Error()
	} else if err != nil {
		answer.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		os.Exit(1)
	}
}
