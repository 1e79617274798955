"""The sections of the page: a module has what it shows, the template beside it how it looks. `page.SECTIONS` has their order."""
