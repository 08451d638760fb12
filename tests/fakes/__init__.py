"""The fakes of what is outside: clocks, stores, nameservers, TLS servers, receivers of webhooks."""
