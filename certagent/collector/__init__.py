"""The collector: what all agents see, put together. It can only ask; it never renews, deploys, plants or fixes."""
