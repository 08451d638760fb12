"""The README's pictures of the page, taken from the running lab."""
