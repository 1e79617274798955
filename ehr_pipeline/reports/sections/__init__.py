"""The sections of the page: each has a module with its content and a template with its layout. Order: `page.SECTIONS`."""
