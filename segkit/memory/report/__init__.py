"""Verdict, document and page."""
