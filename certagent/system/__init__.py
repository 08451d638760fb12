"""The only doors outside: clock, files, DNS, HTTP, TLS, processes. One module each."""
