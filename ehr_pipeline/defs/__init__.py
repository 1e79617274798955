"""All code that depends on Dagster. The rest of the library can be imported and tested without it."""

import warnings

import dagster as dg

# Notices about beta and preview features concern Dagster's own calls; users can do nothing about them.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
