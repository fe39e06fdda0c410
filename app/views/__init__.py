"""One file a page, and the parts of the explore page."""
