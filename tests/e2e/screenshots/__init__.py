"""The documentation's pictures of the page, taken from the running lab."""
