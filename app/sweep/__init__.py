"""A sweep on the page: `choose` its folder, see its `progress`, and what came of it (`results`, drawn by `figures`)."""
