"""All code that depends on Dagster. The rest of the library can be imported and tested without it."""

import warnings

import dagster as dg

# Beta and preview notices are about Dagster's own calls; the user can do nothing about them.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
