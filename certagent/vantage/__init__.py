"""Vantages: this node as it is, and, beside the CA, the path as the CA sees it. Observations only, no conclusions."""
