"""Tests of the diagnosis: observations by vantage, and the findings that are concluded."""
