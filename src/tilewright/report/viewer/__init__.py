"""The browser's window on results: what ``view`` serves, cut on request; nothing is written beside the results."""
